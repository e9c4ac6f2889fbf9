/**
 * treehead for browsers and Node: the verdict of `treehead verify`, tree heads, and proofs from tiles.
 *
 * Functions and arguments are in camel case. Data has the members of `treehead ... --json` and of the log's HTTP API,
 * under the same names. Roots are base64, as in checkpoints; digests and leaf hashes are lower-case hex; times are
 * RFC 3339 in UTC. Leaf indices, tree sizes and sequence numbers are numbers: a tree of more than 2^53 - 1 leaves is an
 * error.
 */

/** Bytes, or text that is encoded as UTF-8. */
export type Bytes = Uint8Array | ArrayBuffer | string;

/** A SHA-256: 32 bytes, or text in hex (64 characters) or base64 (44 characters). */
export type HashLike = Uint8Array | string;

/** Where the module comes from: an address, what `fetch` answered, its bytes, or the compiled module. */
export type Source =
  | string
  | URL
  | Response
  | PromiseLike<Response>
  | ArrayBuffer
  | Uint8Array
  | WebAssembly.Module;

/**
 * Loads the module. Without a source, it is `treehead.wasm` beside this file, in browsers and in Node.
 *
 * The module needs no imports, and `script-src 'wasm-unsafe-eval'` where there is a Content-Security-Policy.
 */
export function load(source?: Source): Promise<Treehead>;

/** Loads the module from bytes, or from a compiled module, at once. Browsers allow that in workers only. */
export function loadSync(source: ArrayBuffer | Uint8Array | WebAssembly.Module): Treehead;

/**
 * The call was wrong, a file can't be read, nobody trusted signed a head, or tiles do not prove what they should. A verdict
 * is never thrown: `verify` returns it.
 */
export class TreeheadError extends Error {
  /** The `th_status` of treehead.h: 1 to 8. */
  readonly status: number;
  /** Its name, or that of the reason if there is one, such as `unknown-log`. */
  readonly code:
    | "refused"
    | "could-not-tell"
    | "invalid-argument"
    | "malformed"
    | "busy"
    | "unsupported"
    | "too-small"
    | "io"
    | (string & {});
}

/** An object in the module's memory. It is freed by `free`, by `using`, or some time after nothing refers to it. */
interface Handle {
  free(): void;
  [Symbol.dispose](): void;
}

/** The loaded module. */
export class Treehead {
  /** The version of treehead, such as `0.1.0`. */
  readonly version: string;
  /** The version of the C interface. */
  readonly abiVersion: number;

  // -- What an endpoint trusts --

  /** Reads a trust file. */
  trust(file: Bytes): Trust;
  /**
   * Reads a policy: tree heads and trees can be checked with it, and every release is refused. The module reads no TOML, so
   * publishers have to be in a trust file, which `treehead trust make` makes; with some, this throws `unsupported`.
   */
  trustFrom(policy: Bytes, publishers?: Bytes): Trust;

  // -- Files --

  /** SHA-256 of bytes. */
  sha256(bytes: Bytes): Uint8Array;
  /** SHA-256 by updates. */
  hasher(): Hasher;
  /** SHA-256 of a file, in pieces, so that a large one needs no memory. `progress` is told the bytes so far. */
  sha256Of(
    source: Blob | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>,
    progress?: (bytes: number) => void,
  ): Promise<Uint8Array>;

  // -- The verdict --

  /**
   * Judges a file by its proof, offline. A refusal is returned, not thrown. If `memory` is given, it is asked, and
   * remembers what is verified.
   */
  verify(question: Question): Verdict;
  /**
   * The same, and asks the log: its newest head must continue every head that was seen before, the release must not be
   * withdrawn, and `maxAge` applies to that head, not to the proof's. `fetchPath` gets a path below the log's address, such as
   * `checkpoint` or `releases?limit=100&withdraws=...`; it must go past every cache, as `fetch(url, { cache: "no-store" })`
   * does.
   */
  verifyOnline(question: Question, fetchPath: FetchPath): Promise<Verdict>;
  /** An empty memory, or one from the bytes that `Memory.bytes` returned. Damaged bytes throw. */
  memory(bytes?: Bytes): Memory;
  /** Reads a proof file or a bundle without verifying it: `what` says which it is. */
  readProof(file: Bytes): UnverifiedProof | UnverifiedBundle;
  /** What an entry says, and who signed it, as far as `trust` knows them. No proof that the entry is in a log. */
  readEntry(entry: Bytes, trust?: Trust | null, origin?: string): Entry;

  // -- Tree heads --

  /**
   * Opens a checkpoint: a log that `trust` lists signed it. The quorum is reported, not demanded: see
   * `Checkpoint.quorum`.
   */
  checkpoint(note: Bytes, trust: Trust): Checkpoint;
  /** Reads a checkpoint without verifying it. */
  readCheckpoint(note: Bytes): UnverifiedCheckpoint;
  /**
   * Compares two heads of one log, by tiles of the larger tree. Either the larger one continues the smaller one, or the
   * log forked, and `evidence` proves it to everyone. Throws if the tiles do not lead to the larger head: then nothing
   * is known.
   */
  compare(one: Checkpoint, other: Checkpoint, fetchTile: FetchTile): Promise<Comparison>;
  /** Judges a `.tlog-fork` file. Throws if it proves nothing. */
  verifyEvidence(file: Bytes, trust: Trust): ProvenFork;

  // -- Trees and tiles: c2sp.org/tlog-tiles --

  /** A tree of a known size and root, whose tiles can be fetched. Proofs are checked against the root. */
  tree(head: TreeHead, fetchTile: FetchTile): Tree;
  /** The tiles that prove the inclusion of a leaf: put each, then ask for the proof. `Tree` does it all. */
  planInclusion(index: number, size: number): Plan;
  /** The tiles of a tree that prove what its first leaves are. */
  planPrefix(oldSize: number, size: number): Plan;
  /** Checks an inclusion proof that was made elsewhere. Throws if the leaf is not in the tree. */
  verifyInclusion(index: number, leaf: HashLike, head: TreeHead, proof: HashLike[]): InclusionProof;
  /** Checks a consistency proof that was made elsewhere. Throws if the new tree is no continuation. */
  verifyConsistency(old: TreeHead, head: TreeHead, proof: HashLike[]): void;
  /** Path of a tile below the log's prefix, as wide as a tree of `size` has it: `tile/0/x001/234`. */
  tile(level: number | "entries", index: number, size: number): Tile;

  // -- Entries --

  /** Hash of a leaf: SHA-256 of a zero byte and the entry. */
  leafHash(entry: Bytes): Uint8Array;
  /** Hash of a node: SHA-256 of a one and the hashes of both subtrees. */
  nodeHash(left: HashLike, right: HashLike): Uint8Array;
  /** Splits an entry bundle. The entries are views into `bundle`. */
  entries(bundle: Uint8Array): Uint8Array[];
  /** The leaf hashes of an entry bundle, 32 bytes each: what the tile of level 0 has to be. */
  bundleHashes(bundle: Uint8Array): Uint8Array;
  /** Root of the tree over these hashes: 32 bytes each, of leaves or of complete subtrees of one size. */
  rootOf(hashes: Uint8Array): Uint8Array;

  // -- Help --

  /** Lower-case hex of bytes. */
  hex(bytes: Uint8Array): string;
  /** Base64 of bytes, with padding. */
  base64(bytes: Uint8Array): string;
  /** Bytes of a hash in any spelling. */
  hash(hash: HashLike): Uint8Array;
  /** Text from elsewhere for people to read: without control, bidi and invisible characters. */
  shown(text: string): string;
}

/** Trusted logs, witnesses, quorum and publishers. */
export interface Trust extends Handle {
  /** Number of the trust file; null if it was read from a policy and publishers. */
  readonly number: number | null;
  /** The logs, each origin once. */
  readonly logs: TrustedLog[];
  /** The quorum rule in words. */
  readonly quorum: string;
  /** Names of the witnesses, in the order of the policy. */
  readonly witnesses: string[];
  /** Names of the publishers. */
  readonly publishers: string[];
  /**
   * The trust file that replaces this one: it has the next number, and its releases, in proof files or bundles, are proven and
   * signed as this one asks. The signers of all proofs are counted together. This one stays as it is; keep the bytes of the
   * new one. Otherwise it throws, with a `code` such as `trust-gap` (docs/trust.md).
   */
  succeed(file: Bytes, proofs: Iterable<Bytes>): Trust;
}

export interface TrustedLog {
  origin: string;
  /** The keys by which it is known, as `name+id`, with their algorithm. */
  keys: { key: string; type: SignatureType }[];
  url: string | null;
}

/** SHA-256 by updates. */
export interface Hasher extends Handle {
  update(bytes: Bytes): this;
  /** The digest of everything. The hasher is empty afterwards. */
  digest(): Uint8Array;
}

/** What an endpoint remembers: heads, sequences, channels, withdrawals, forks. It only grows. Keep its bytes. */
export interface Memory extends Handle {
  /** The bytes to store. Whoever can set them back can make old releases pass. */
  bytes(): Uint8Array;
  /** True if it changed since `bytes` was called last. */
  readonly changed: boolean;
}

/** A question about one file. Each pin that is given must match exactly. */
export interface Question {
  trust: Trust;
  /** The proof file. */
  proof: Bytes;
  /** The file's SHA-256, or its bytes. */
  digest?: HashLike;
  bytes?: Uint8Array | ArrayBuffer;
  /** The file's name or path, as far as it is known: a file with the name of another artifact is refused. */
  file?: string;
  /** A purl with version, or a pattern. */
  purl?: string;
  channel?: string;
  kind?: Kind;
  publisher?: string;
  minSequence?: number;
  audience?: string;
  /** The artifact's name, exactly as the statement has it. */
  name?: string;
  /** Most seconds since a quorum cosigned; any age if it is missing. */
  maxAge?: number;
  /** The time, in seconds since 1970 or as a Date; the clock's if it is missing. */
  now?: number | Date;
  memory?: Memory;
}

export type Kind = "build" | "update" | "detection-rules" | "trust";

/** The verdict: the object that `treehead verify --json` prints, and the stable number. */
export type Verdict = Verified | Refused;

export interface Verified {
  ok: true;
  code: "verified";
  number: 0;
  /** The verdict in a sentence. */
  message: string;
  digest: string;
  /** The artifact's name in the release, and all of its names. */
  name: string;
  names: string[];
  purl: string;
  kind: Kind;
  channel: string;
  sequence: number;
  audience: string | null;
  source: { uri: string; digest: Record<string, string> } | null;
  publisher: string;
  signers: string[];
  origin: string;
  index: number;
  leaf_hash: string;
  tree_size: number;
  /** Root of that tree, base64. */
  root: string;
  witnesses: Cosignature[];
  /** `learnt` if the log was asked for withdrawals and answered; a log of static files has no search. */
  withdrawals: "learnt" | "not-asked";
  /** The log's newest head, if the log was asked. */
  latest_tree_size?: number;
  latest_witnesses?: Cosignature[];
  /** A `.tlog-fork` file, if the heads show that the log signed two histories. Keep it: it may be the only copy. */
  evidence?: Evidence;
}

export interface Refused {
  ok: false;
  /** The stable name, such as `artifact-mismatch`, and its number, such as 622. */
  code: string;
  number: number;
  /** The reason in a sentence, and what to do. */
  message: string;
  advice: string;
  expected: string;
  seen: string;
  digest: string;
  evidence?: Evidence;
}

export interface Evidence {
  file_name: string;
  bytes: Uint8Array;
}

/** A cosignature that was verified: the latest of each witness. */
export interface Cosignature {
  /** The witness's name in the policy. */
  name: string;
  /** The name to show: of the cosigner, which may have several keys. */
  cosigner: string;
  time: string;
}

/** A size and a root. `Checkpoint` is one. */
export interface TreeHead {
  readonly size: number;
  readonly root: HashLike;
}

/** A tree head that a trusted log signed. */
export interface Checkpoint extends TreeHead {
  readonly origin: string;
  readonly size: number;
  /** Base64. */
  readonly root: string;
  readonly extensions: string[];
  /** All signature lines. */
  readonly signatures: SignatureLine[];
  /** The verified cosignatures, whether they are a quorum or not. */
  readonly witnesses: Cosignature[];
  readonly quorum: Quorum;
  /** The note with only the lines that were verified: what to keep and to show to others. */
  readonly note: string;
}

export interface Quorum {
  reached: boolean;
  /** The rule in words: `2 of (w1, w2, w3)`. */
  rule: string;
  /** Why it is not reached; empty if it is. */
  message: string;
  /** The name of the refusal, `no-quorum` or `cosignature`; null if it is reached. */
  code: string | null;
  /** Time of the newest cosignature; null without any. */
  newest: string | null;
}

export type SignatureType = "Ed25519" | "Ed25519 cosignature" | "ML-DSA-44 cosignature" | "unknown";

export interface SignatureLine {
  /** `name+id`, without characters that could deceive. */
  key: string;
  /** By its length: only the key would tell for sure. */
  type: SignatureType;
  role: "log" | "witness" | "unknown";
  /** Whether it was verified: lines by unknown keys can't be. */
  verified: boolean;
}

export interface UnverifiedCheckpoint {
  what: "checkpoint";
  origin: string;
  size: number;
  root: string;
  signatures: string[];
  signature_types: string[];
}

export interface UnverifiedProof {
  what: "proof";
  index: number;
  /** The hashes of the proof, base64, the leaf's sibling first. */
  proof: string[];
  checkpoint: UnverifiedCheckpoint;
  /** The checkpoint's bytes, to open it. */
  note: string;
  /** The entry, if the proof carries it, and its leaf hash. */
  entry: Uint8Array | null;
  leaf_hash: string | null;
}

/** A bundle as it says, unverified: entries of one log under one tree head. */
export interface UnverifiedBundle {
  what: "bundle";
  /** The entries, by leaf index. */
  entries: { index: number; leaf_hash: string; entry: Uint8Array }[];
  /** The hashes of the joint proof, base64, in the order of the tree. */
  proof: string[];
  checkpoint: UnverifiedCheckpoint;
  /** The checkpoint's bytes, to open it. */
  note: string;
}

/** Fetches a path below the log's address. Status 0, or a rejected promise: there was no answer. */
export type FetchPath = (
  path: string,
  most: number,
) => PromiseLike<{ status: number; bytes: Uint8Array | ArrayBuffer } | Response>;

/** Fetches a tile by its path below the log's prefix, such as `tile/0/x001/234.p/5`; resolves to its bytes. */
export type FetchTile = (path: string, tile: Tile) => PromiseLike<Uint8Array | ArrayBuffer> | Uint8Array;

export interface Tile {
  /** Path below the log's prefix. */
  path: string;
  level: number | "entries";
  index: number;
  /** Hashes or entries in it, 1 to 256. */
  width: number;
}

/** Which tiles are needed for a proof. */
export interface Plan extends Handle {
  readonly tiles: Tile[];
  /** Puts a tile in, by its place in `tiles`. It may be the full tile where a partial one is planned. */
  put(at: number, tile: Uint8Array | ArrayBuffer): void;
  /** Of `planInclusion`: the proof. Throws if the leaf is not in the tree, or tiles are missing. */
  proveInclusion(leaf: HashLike, root: HashLike): InclusionProof;
  /** Of `planPrefix`: the root that the tree had at the smaller size, and the consistency proof. */
  provePrefix(root: HashLike): { root: string; proof: string[] };
}

/** A tree whose tiles can be fetched. Each tile is fetched once, and forgotten with the tree. */
export interface Tree {
  readonly size: number;
  /** Base64. */
  readonly root: string;
  /** Proves that a leaf is in the tree. Rejects if it is not, or if a tile is wrong. */
  prove(index: number, leaf: HashLike): Promise<InclusionProof>;
  /** Proves many leaves; resolves in the same order, to the proof or to the reason why there is none. */
  proveAll(leaves: { index: number; leaf: HashLike }[]): Promise<(InclusionProof | TreeheadError)[]>;
  /** Proves that the tree continues an older head. Rejects if it does not; see `Treehead.compare`. */
  proveGrowth(old: TreeHead): Promise<string[]>;
  /** Fetches entries, re-hashes them, and proves them: `from` to `to`, `to` not included. */
  entries(from: number, to: number): Promise<{ index: number; leaf_hash: string; entry: Uint8Array }[]>;
}

/** A leaf that is proven to be in a tree, and the way up, to draw it. */
export interface InclusionProof {
  index: number;
  leaf_hash: string;
  size: number;
  root: string;
  /** The hashes of the proof, base64, the leaf's sibling first. */
  proof: string[];
  /** From the leaf to the root, one step for each hash. */
  path: PathStep[];
}

export interface PathStep {
  /** Side of the sibling. */
  side: "left" | "right";
  /** The sibling's hash, base64, and its leaves: `first` to `end`, `end` not included. */
  sibling: string;
  first: number;
  end: number;
  /** The hash of both, base64, and its leaves. The last is the root. */
  parent: string;
  parent_first: number;
  parent_end: number;
}

export type Comparison =
  | { relation: "same" }
  | { relation: "grown"; from: number; to: number; proof: string[] }
  | { relation: "forked"; message: string; evidence: Evidence };

export interface ProvenFork {
  code: "forked";
  origin: string;
  smaller: { size: number; root: string; witnesses: Cosignature[] };
  larger: { size: number; root: string; witnesses: Cosignature[] };
  /** The root that the larger tree had at the smaller size, if the sizes differ. */
  other_root_at_smaller_size: string | null;
  file_name: string;
}

/** What an entry says. Members that its kind does not have are missing. */
export interface Entry {
  /** What it states: `attestation` if its type has no name; `opaque` if it is no statement. */
  what:
    | "release"
    | "withdrawal"
    | "provenance"
    | "verification-summary"
    | "review"
    | "disclosure"
    | "sbom"
    | "vex"
    | "test-result"
    | "imported"
    | "attestation"
    | "opaque";
  leaf_hash: string;
  /** What it is, with its article: `a release statement`. */
  title: string;
  /** The statement in words, one fact a line: label and text. A line without a label continues the one before. */
  words: { label: string; text: string }[];
  /** Hex keyids of the signers. */
  keys?: string[];
  /** The family of each key: `ed25519`, `ml-dsa-44`; of a key that `trust` does not list as its signature shows it, so `rsa` for both schemes. */
  families?: string[];
  /** Names of the publishers that may state this and whose signatures were verified. */
  publishers?: string[];
  /** Names of all known signers whose signatures were verified. */
  signers?: string[];
  /** Why nobody stands behind it: the reason's name and sentence. Missing without `trust`. */
  problem?: { code: string; number: number; message: string } | null;
  purl?: string;
  /** The purl without version. */
  package?: string;
  version?: string;
  /** A release's kind. */
  kind?: Kind;
  channel?: string;
  sequence?: number;
  artifacts?: { name: string | null; uri?: string | null; sha256?: string; digest?: Record<string, string> }[];
  source?: { uri: string; digest: Record<string, string> } | null;
  manifest?: { root: string; files: number } | null;
  audience?: string | null;
  log?: string | null;
  withdraws?: number;
  withdrawn_leaf_hash?: string;
  reason?: string;
  builder?: string;
  build_type?: string;
  dependencies?: { name: string | null; uri: string | null; digest: Record<string, string> }[];
  result?: "PASSED" | "FAILED";
  levels?: string[];
  resource?: string;
  verifier?: string;
  policy?: string;
  time?: string;
  /** The envelope as the log has it, and the statement in it. Text from elsewhere: show it with `shown`. */
  envelope?: string;
  payload?: string;
}
