// treehead for browsers and Node: docs/wasm.md. The types are in treehead.d.ts.
//
// The module exports the functions of capi/include/treehead.h. Here they get arguments and results of JavaScript: each call
// has a `Frame`, which holds what it needs in the module's memory and is freed when the call returns.

/** Names of `th_status`. */
const STATUS = [
  "ok", "refused", "could-not-tell", "invalid-argument", "malformed", "busy", "unsupported", "too-small", "io",
];
const OK = 0;
const REFUSED = 1;
const COULD_NOT_TELL = 2;
const MALFORMED = 4;
const TOO_SMALL = 7;
/** Status of a failure that this file finds. */
const INVALID = 3;

/** Bytes of a hash, most hashes in a proof and in a tile. */
const HASH = 32;
const MAX_PROOF = 64;
const TILE_WIDTH = 256;
/** Most bytes of a message. Longer ones are cut. */
const MESSAGE = 4096;
/** Bytes hashed at once. */
const CHUNK = 64 * 1024;
/** Tiles fetched at once. */
const AT_ONCE = 6;
/** `flags` of a question: the verdict comes as JSON. */
const WANT_JSON = 1;

/**
 * The members of the structs that are written or read here, in the order of treehead.h; a test compares them with it.
 * usize: size_t and pointers; text, bytes and str are structs of three or two of those.
 */
export const STRUCTS = {
  th_question: `struct_size usize, sha256 hash, proof bytes, now u64, max_age u64, min_sequence u64, file_name str, name str,
    package str, channel str, kind str, publisher str, audience str, flags u32, reserved u32`,
  th_verdict: `struct_size usize, status u32, reason u32, message text, expected text, seen text, advice text, origin text,
    purl text, channel text, kind text, publisher text, audience text, name text, sequence u64, index u64, tree_size u64,
    cosigned u64, leaf hash, root hash, asked_the_log u32, asked_for_withdrawals u32, forgot_a_head u32, reserved u32,
    evidence usize, evidence_name text, json usize`,
};
/** Size and alignment on wasm32. */
const TYPES = { usize: [4, 4], u32: [4, 4], u64: [8, 8], hash: [HASH, 1], str: [8, 4], bytes: [8, 4], text: [12, 4] };

/** Offsets of a struct's members, and its size, by the rules of C. */
function layout(members) {
  const offsets = {};
  let end = 0;
  let widest = 1;
  for (const member of members.split(",")) {
    const [name, type] = member.trim().split(" ");
    const [size, align] = TYPES[type];
    end = Math.ceil(end / align) * align;
    offsets[name] = end;
    end += size;
    widest = Math.max(widest, align);
  }
  return { offsets, size: Math.ceil(end / widest) * widest };
}

const QUESTION = layout(STRUCTS.th_question);
const VERDICT = layout(STRUCTS.th_verdict);

export class TreeheadError extends Error {
  constructor(status, message, code = STATUS[status]) {
    super(message);
    this.name = "TreeheadError";
    this.status = status;
    this.code = code;
  }
}

const invalid = (message) => new TreeheadError(INVALID, message);

export async function load(source = new URL("treehead.wasm", import.meta.url)) {
  return new Treehead(await WebAssembly.instantiate(await compiled(source), {}));
}

export function loadSync(source) {
  const module = source instanceof WebAssembly.Module ? source : new WebAssembly.Module(source);
  return new Treehead(new WebAssembly.Instance(module, {}));
}

/** The compiled module: an instance made of bytes would come in a wrapper, and one made of a module does not. */
async function compiled(source) {
  const found = await source;
  if (found instanceof WebAssembly.Module) return found;
  if (found instanceof ArrayBuffer || ArrayBuffer.isView(found)) return WebAssembly.compile(found);
  if (typeof Response !== "undefined" && found instanceof Response) {
    if (!found.ok) throw new TreeheadError(COULD_NOT_TELL, `${found.url} answered ${found.status}`);
    return WebAssembly.compile(await found.arrayBuffer());
  }
  const url = new URL(found, typeof location === "undefined" ? import.meta.url : location.href);
  if (url.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    return WebAssembly.compile(await readFile(url));
  }
  return compiled(fetch(url));
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Bytes of anything that `Bytes` allows, without a copy where there are some. */
function bytesOf(bytes, what) {
  if (typeof bytes === "string") return encoder.encode(bytes);
  if (bytes instanceof Uint8Array) return bytes;
  if (bytes instanceof ArrayBuffer) return new Uint8Array(bytes);
  if (ArrayBuffer.isView(bytes)) return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  throw invalid(`${what}: expected bytes or text, saw ${typeof bytes}`);
}

function hex(bytes) {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK) text += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(text);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

/** The 32 bytes of a hash in any spelling. */
function hashOf(hash) {
  if (hash instanceof Uint8Array && hash.length === HASH) return hash;
  if (typeof hash === "string" && /^[0-9a-fA-F]{64}$/.test(hash)) {
    return Uint8Array.from({ length: HASH }, (_, at) => parseInt(hash.substr(2 * at, 2), 16));
  }
  if (typeof hash === "string" && /^[A-Za-z0-9+/]{43}=$/.test(hash)) {
    return fromBase64(hash);
  }
  throw invalid("expected a hash of 32 bytes, as bytes, in hex or in base64");
}

/** A u64 argument. */
function u64(number, what) {
  if (!Number.isSafeInteger(number) || number < 0) throw invalid(`${what}: expected a whole number below 2^53, saw ${number}`);
  return BigInt(number);
}

/** A u64 result. */
function numberOf(big) {
  const number = Number(BigInt.asUintN(64, big));
  if (!Number.isSafeInteger(number)) throw new TreeheadError(COULD_NOT_TELL, `${number} is too large a number for JavaScript`);
  return number;
}

/** Largest power of two below `count`, which is at least 2. */
function splitPoint(count) {
  let split = 1;
  while (2 * split < count) split *= 2;
  return split;
}

/** Concatenated bytes. */
function concat(parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** What one call has in the module's memory. */
class Frame {
  constructor(wasm) {
    this.wasm = wasm;
    this.held = [];
  }

  /** Zeroed memory. */
  alloc(size) {
    if (size === 0) return 0;
    const at = this.wasm.th_alloc(size);
    if (at === 0) throw new TreeheadError(COULD_NOT_TELL, `no memory for ${size} bytes`);
    this.held.push([at, size]);
    return at >>> 0;
  }

  free() {
    for (const [at, size] of this.held) this.wasm.th_free(at, size);
    this.held = [];
  }

  /** Bytes copied in: pointer and length. */
  bytes(bytes, what) {
    const given = bytesOf(bytes, what);
    const at = this.alloc(given.length);
    this.memory(at, given.length).set(given);
    return [at, given.length];
  }

  hash(hash) {
    return this.bytes(hashOf(hash), "a hash")[0];
  }

  /** Room for a result. */
  room(size) {
    const at = this.alloc(size);
    this.memory(at, size).fill(0);
    return at;
  }

  /** A view of the module's memory, until the next call that may grow it. */
  memory(at, length) {
    return new Uint8Array(this.wasm.memory.buffer, at, length);
  }

  view() {
    return new DataView(this.wasm.memory.buffer);
  }

  u32(at) {
    return this.view().getUint32(at, true);
  }

  copy(at, length) {
    return this.memory(at, length).slice();
  }

  /** A buffer for a text: a `th_text` in memory. */
  text(capacity = MESSAGE) {
    const at = this.room(12);
    this.putText(at, capacity);
    return at;
  }

  putText(at, capacity) {
    const data = this.alloc(capacity);
    const view = this.view();
    view.setUint32(at, data, true);
    view.setUint32(at + 4, capacity, true);
  }

  readText(at) {
    const length = Math.min(this.u32(at + 8), Math.max(this.u32(at + 4) - 1, 0));
    return decoder.decode(this.copy(this.u32(at), length));
  }

  /** The bytes of the blob whose pointer is at `place`; null if there is none. Frees it. */
  takeBlob(place) {
    const blob = this.u32(place);
    if (blob === 0) return null;
    const bytes = this.copy(this.wasm.th_blob_data(blob) >>> 0, this.wasm.th_blob_length(blob) >>> 0);
    this.wasm.th_blob_free(blob);
    this.view().setUint32(place, 0, true);
    return bytes;
  }

  takeJson(place) {
    return JSON.parse(decoder.decode(this.takeBlob(place)));
  }
}

/** Frees objects that nothing refers to any more. */
const forgotten = new FinalizationRegistry(({ free, pointer }) => free(pointer));

/** An object in the module's memory. */
class Handle {
  #pointer;
  #release;

  constructor(treehead, pointer, name) {
    this.treehead = treehead;
    this.#pointer = pointer;
    this.#release = { free: treehead.wasm[`${name}_free`], pointer };
    forgotten.register(this, this.#release, this.#release);
    Object.defineProperty(this, "treehead", { enumerable: false });
  }

  get pointer() {
    if (this.#pointer === 0) throw invalid("the object was freed");
    return this.#pointer;
  }

  free() {
    if (this.#pointer === 0) return;
    forgotten.unregister(this.#release);
    this.#release.free(this.#pointer);
    this.#pointer = 0;
  }
}
Handle.prototype[Symbol.dispose ?? Symbol.for("Symbol.dispose")] = Handle.prototype.free;

export class Treehead {
  constructor(instance) {
    this.wasm = instance.exports;
    this.abiVersion = this.wasm.th_abi_version() >>> 0;
    this.version = this.#cText(this.wasm.th_version());
  }

  /** A text of C that ends with a NUL. */
  #cText(at) {
    const memory = new Uint8Array(this.wasm.memory.buffer, at);
    return decoder.decode(memory.slice(0, memory.indexOf(0)));
  }

  /** Runs a call with a frame of its own. */
  call(body) {
    const frame = new Frame(this.wasm);
    try {
      return body(frame, this.wasm);
    } finally {
      frame.free();
    }
  }

  /** Throws unless a function without a message succeeded. */
  check(status, what) {
    if (status !== OK) throw new TreeheadError(status, `${what}: ${STATUS[status]}`);
  }

  /** Calls a function with a message as its last argument, and throws unless it succeeded. */
  done(frame, call) {
    const message = frame.text();
    const status = call(message);
    if (status !== OK) throw new TreeheadError(status, frame.readText(message));
  }

  // -- Trust and memory --

  trust(file) {
    return this.call((frame, wasm) => {
      const [data, length] = frame.bytes(file, "a trust file");
      const out = frame.room(4);
      this.done(frame, (message) => wasm.th_trust_from_bytes(data, length, out, message));
      return new Trust(this, frame.u32(out));
    });
  }

  trustFrom(policy, publishers = "") {
    return this.call((frame, wasm) => {
      const out = frame.room(4);
      const files = [...frame.bytes(policy, "a policy"), ...frame.bytes(publishers, "a publishers file")];
      this.done(frame, (message) => wasm.th_trust_from_parts(...files, out, message));
      return new Trust(this, frame.u32(out));
    });
  }

  /** The trust that replaces `trust`: see Trust.succeed. */
  successor(trust, file, proofs) {
    return this.call((frame, wasm) => {
      const next = frame.bytes(file, "a trust file");
      const given = [...proofs].map((proof) => frame.bytes(proof, "a proof file"));
      const [array, out, reason, message] = [frame.room(8 * given.length), frame.room(4), frame.room(4), frame.text()];
      given.flat().forEach((number, at) => frame.view().setUint32(array + 4 * at, number, true));
      const status = wasm.th_trust_succeed(trust.pointer, ...next, array, given.length, out, reason, message);
      if (status === OK) return new Trust(this, frame.u32(out));
      const name = wasm.th_reason_name(frame.u32(reason));
      throw new TreeheadError(status, frame.readText(message), name === 0 ? undefined : this.#cText(name));
    });
  }

  memory(bytes) {
    return this.call((frame, wasm) => {
      const out = frame.room(4);
      if (bytes === undefined || bytes === null) {
        this.check(wasm.th_memory_new(out), "a memory");
      } else {
        const [data, length] = frame.bytes(bytes, "a memory");
        this.done(frame, (message) => wasm.th_memory_from_bytes(data, length, out, message));
      }
      return new Memory(this, frame.u32(out), "th_memory");
    });
  }

  // -- Hashing --

  sha256(bytes) {
    const hasher = this.hasher();
    try {
      return hasher.update(bytes).digest();
    } finally {
      hasher.free();
    }
  }

  hasher() {
    return new Hasher(this, this.wasm.th_hasher_new(), "th_hasher");
  }

  async sha256Of(source, progress = () => {}) {
    const hasher = this.hasher();
    try {
      let seen = 0;
      const stream = typeof source.stream === "function" ? source.stream() : source;
      for await (const part of pieces(stream)) {
        hasher.update(part);
        seen += part.length;
        progress(seen);
      }
      return hasher.digest();
    } finally {
      hasher.free();
    }
  }

  // -- Verdicts --

  verify(question) {
    return this.call((frame, wasm) => {
      const { trust, memory, place, digest } = this.#question(frame, question);
      const verdict = new VerdictPlace(frame);
      wasm.th_verify(trust, memory, place, verdict.place);
      return verdict.read(digest);
    });
  }

  async verifyOnline(question, fetchPath) {
    const { check, digest } = this.call((frame, wasm) => {
      const { trust, memory, place, digest } = this.#question(frame, question);
      const out = frame.room(4);
      this.done(frame, (message) => wasm.th_check_new(trust, memory, place, out, message));
      return { check: new Handle(this, frame.u32(out), "th_check"), digest };
    });
    try {
      await this.#answerAll(check, fetchPath);
      return this.call((frame, wasm) => {
        const verdict = new VerdictPlace(frame);
        wasm.th_check_finish(check.pointer, question.memory?.pointer ?? 0, verdict.place);
        return verdict.read(digest);
      });
    } finally {
      check.free();
    }
  }

  /** Fetches what a check asks for until it asks for nothing. */
  async #answerAll(check, fetchPath) {
    while (this.wasm.th_check_requests(check.pointer) > 0) {
      const { path, most } = this.call((frame, wasm) => {
        const out = frame.room(4);
        let text = frame.text();
        let status = wasm.th_check_request(check.pointer, 0, text, out);
        // A search for withdrawals names the package, whose name may be long.
        if (status === TOO_SMALL) {
          text = frame.text(frame.u32(text + 8) + 1);
          status = wasm.th_check_request(check.pointer, 0, text, out);
        }
        this.check(status, "a request");
        return { path: frame.readText(text), most: frame.u32(out) };
      });
      const { status, bytes } = await answerOf(fetchPath, path, most);
      this.call((frame, wasm) => {
        const body = frame.bytes(bytes, "an answer");
        this.check(wasm.th_check_answer(check.pointer, 0, status, ...body), "an answer");
      });
    }
  }

  /** Writes a `th_question`. */
  #question(frame, question) {
    const { trust, memory, proof } = question;
    if (!(trust instanceof Trust)) throw invalid("a question needs a trust");
    const digest = question.digest === undefined ? this.sha256(question.bytes) : hashOf(question.digest);
    const now = question.now ?? Date.now() / 1000;
    const seconds = Math.floor(now instanceof Date ? now.getTime() / 1000 : now);
    const { offsets, size } = QUESTION;
    const place = frame.room(size);
    frame.memory(place + offsets.sha256, HASH).set(digest);
    const spans = [["proof", proof], ["file_name", question.file], ["package", question.purl]];
    for (const name of ["name", "channel", "kind", "publisher", "audience"]) spans.push([name, question[name]]);
    for (const [name, text] of spans) {
      if (text === undefined || text === null) continue;
      // An empty text is asked for too, so it needs a pointer.
      const [data, length] = frame.bytes(text, name);
      const view = frame.view();
      view.setUint32(place + offsets[name], data || frame.alloc(1), true);
      view.setUint32(place + offsets[name] + 4, length, true);
    }
    const view = frame.view();
    view.setUint32(place, size, true);
    view.setBigUint64(place + offsets.now, u64(seconds, "now"), true);
    view.setBigUint64(place + offsets.max_age, u64(question.maxAge ?? 0, "maxAge"), true);
    view.setBigUint64(place + offsets.min_sequence, u64(question.minSequence ?? 0, "minSequence"), true);
    view.setUint32(place + offsets.flags, WANT_JSON, true);
    return { trust: trust.pointer, memory: memory?.pointer ?? 0, place, digest };
  }

  // -- What files say --

  readProof(file) {
    return this.call((frame, wasm) => {
      const [data, length] = frame.bytes(file, "a proof file");
      const [json, entry] = [frame.room(4), frame.room(4)];
      this.done(frame, (message) => wasm.th_proof_json(data, length, json, entry, message));
      const read = frame.takeJson(json);
      const only = frame.takeBlob(entry);
      if (read.what !== "bundle") return { ...read, entry: only };
      return { ...read, entries: read.entries.map((one) => ({ ...one, entry: fromBase64(one.entry) })) };
    });
  }

  readEntry(entry, trust = null, origin = undefined) {
    return this.call((frame, wasm) => {
      const out = frame.room(4);
      const log = origin === undefined ? [0, 0] : frame.bytes(origin, "an origin");
      const status = wasm.th_entry_json(trust?.pointer ?? 0, ...log, ...frame.bytes(entry, "an entry"), out);
      this.check(status, "an entry");
      return frame.takeJson(out);
    });
  }

  readCheckpoint(note) {
    return this.#checkpoint(note, 0);
  }

  checkpoint(note, trust) {
    // `compare` opens it again.
    return Object.defineProperty(this.#checkpoint(note, trust.pointer), "trust", { value: trust });
  }

  #checkpoint(note, trust) {
    return this.call((frame, wasm) => {
      const [data, length] = frame.bytes(note, "a checkpoint");
      const out = frame.room(4);
      this.done(frame, (message) => wasm.th_checkpoint_json(trust, data, length, out, message));
      return frame.takeJson(out);
    });
  }

  verifyEvidence(file, trust) {
    return this.call((frame, wasm) => {
      const [data, length] = frame.bytes(file, "fork evidence");
      const out = frame.room(4);
      this.done(frame, (message) => wasm.th_evidence_check(trust.pointer, data, length, out, message));
      return frame.takeJson(out);
    });
  }

  shown(text) {
    return this.call((frame, wasm) => {
      const given = frame.bytes(text, "a text");
      // An escape is at most ten characters, of a character of at least one byte.
      const out = frame.text(given[1] * 10 + 1);
      this.check(wasm.th_shown(...given, out), "a text");
      return frame.readText(out);
    });
  }

  // -- Trees --

  tree(head, fetchTile) {
    return new Tree(this, head, fetchTile);
  }

  tile(level, index, size) {
    return this.call((frame, wasm) => {
      const [path, width] = [frame.text(), frame.room(4)];
      const number = level === "entries" ? -1 : level;
      this.check(wasm.th_tile_path(number, u64(index, "index"), u64(size, "size"), path, width), "a tile");
      return { path: frame.readText(path), level, index, width: frame.u32(width) };
    });
  }

  planInclusion(index, size) {
    return this.#plan("th_plan_inclusion", index, size);
  }

  planPrefix(oldSize, size) {
    return this.#plan("th_plan_prefix", oldSize, size);
  }

  #plan(name, first, size) {
    return this.call((frame, wasm) => {
      const out = frame.room(4);
      this.check(wasm[name](u64(first, "an index or size"), u64(size, "size"), out), `${first} of ${size}`);
      return new Plan(this, frame.u32(out), first, size);
    });
  }

  verifyInclusion(index, leaf, { size, root }, proof) {
    return this.call((frame, wasm) => {
      const hashes = proof.map(hashOf);
      const [data] = frame.bytes(concat(hashes), "a proof");
      const [leafAt, rootAt] = [frame.hash(leaf), frame.hash(root)];
      const status = wasm.th_inclusion_check(u64(index, "index"), u64(size, "size"), leafAt, data, hashes.length, rootAt);
      this.check(status, `leaf ${index} in the tree of ${size}`);
      return this.#inclusion(index, size, hashOf(leaf), hashOf(root), hashes);
    });
  }

  verifyConsistency(old, head, proof) {
    this.call((frame, wasm) => {
      const hashes = proof.map(hashOf);
      const [data] = frame.bytes(concat(hashes), "a proof");
      const [from, to] = [u64(old.size, "size"), u64(head.size, "size")];
      const [oldRoot, root] = [frame.hash(old.root), frame.hash(head.root)];
      const status = wasm.th_consistency_check(from, oldRoot, to, root, data, hashes.length);
      this.check(status, `the tree of ${head.size} as a continuation of that of ${old.size}`);
    });
  }

  /** A proof that was checked, with the way up: RFC 6962 section 2.1.1. */
  inclusion(index, size, leaf, root, hashes) {
    return this.#inclusion(index, size, leaf, root, hashes);
  }

  #inclusion(index, size, leaf, root, hashes) {
    // From the root down: which leaves the sibling has at each step.
    const turns = [];
    for (let first = 0, end = size; end - first > 1; ) {
      const split = first + splitPoint(end - first);
      const left = index >= split;
      turns.push({ side: left ? "left" : "right", first: left ? first : split, end: left ? split : end });
      [first, end] = left ? [split, end] : [first, split];
    }
    let node = leaf;
    let [parentFirst, parentEnd] = [index, index + 1];
    const path = turns.reverse().map(({ side, first, end }, at) => {
      node = side === "left" ? this.nodeHash(hashes[at], node) : this.nodeHash(node, hashes[at]);
      [parentFirst, parentEnd] = [Math.min(parentFirst, first), Math.max(parentEnd, end)];
      return {
        side, sibling: base64(hashes[at]), first, end, parent: base64(node), parent_first: parentFirst,
        parent_end: parentEnd,
      };
    });
    return { index, leaf_hash: hex(leaf), size, root: base64(root), proof: hashes.map(base64), path };
  }

  nodeHash(left, right) {
    return this.call((frame, wasm) => {
      const out = frame.room(HASH);
      this.check(wasm.th_node_hash(frame.hash(left), frame.hash(right), out), "a node");
      return frame.copy(out, HASH);
    });
  }

  async compare(one, other, fetchTile) {
    const [small, large] = one.size <= other.size ? [one, other] : [other, one];
    const trust = small.trust;
    const plan = small.size === large.size ? null : await filled(this.planPrefix(small.size, large.size), fetchTile);
    try {
      return this.call((frame, wasm) => {
        const [evidence, name, message] = [frame.room(4), frame.text(), frame.text()];
        const notes = [...frame.bytes(small.note, "a head"), ...frame.bytes(large.note, "a head")];
        const status = wasm.th_heads_compare(trust.pointer, ...notes, plan?.pointer ?? 0, evidence, name, message);
        const words = frame.readText(message);
        const bytes = frame.takeBlob(evidence);
        if (status === REFUSED && bytes !== null) {
          return { relation: "forked", message: words, evidence: { file_name: frame.readText(name), bytes } };
        }
        if (status !== OK) throw new TreeheadError(status, words);
        if (plan === null) return { relation: "same" };
        return { relation: "grown", from: small.size, to: large.size, proof: plan.provePrefix(large.root).proof };
      });
    } finally {
      plan?.free();
    }
  }

  // -- Entries --

  leafHash(entry) {
    return this.call((frame, wasm) => {
      const out = frame.room(HASH);
      this.check(wasm.th_leaf_hash(...frame.bytes(entry, "an entry"), out), "an entry");
      return frame.copy(out, HASH);
    });
  }

  entries(bundle) {
    const entries = [];
    for (let at = 0; at < bundle.length; ) {
      const start = at + 2;
      const end = start + (bundle[at] << 8 | bundle[at + 1]);
      if (start > bundle.length || end > bundle.length) throw new TreeheadError(MALFORMED, "an entry bundle ends within an entry");
      entries.push(bundle.subarray(start, end));
      at = end;
    }
    return entries;
  }

  bundleHashes(bundle) {
    return this.call((frame, wasm) => {
      const [data, length] = frame.bytes(bundle, "an entry bundle");
      const [hashes, count] = [frame.room(TILE_WIDTH * HASH), frame.room(4)];
      const status = wasm.th_bundle_hashes(data, length, hashes, TILE_WIDTH, count);
      this.check(status, "an entry bundle");
      return frame.copy(hashes, frame.u32(count) * HASH);
    });
  }

  rootOf(hashes) {
    return this.call((frame, wasm) => {
      if (hashes.length % HASH !== 0) throw invalid("expected hashes of 32 bytes each");
      const [data, length] = frame.bytes(hashes, "hashes");
      const out = frame.room(HASH);
      this.check(wasm.th_tree_root(data, length / HASH, out), "hashes");
      return frame.copy(out, HASH);
    });
  }

  // -- Help --

  hex(bytes) {
    return hex(bytes);
  }

  base64(bytes) {
    return base64(bytes);
  }

  hash(hash) {
    return hashOf(hash);
  }
}

/** A `th_verdict` in memory. */
class VerdictPlace {
  constructor(frame) {
    this.frame = frame;
    this.place = frame.room(VERDICT.size);
    frame.view().setUint32(this.place, VERDICT.size, true);
    for (const name of ["message", "evidence_name"]) frame.putText(this.at(name), MESSAGE);
  }

  at(name) {
    return this.place + VERDICT.offsets[name];
  }

  read(digest) {
    const { frame } = this;
    const status = frame.u32(this.at("status"));
    const file_name = frame.readText(this.at("evidence_name"));
    const bytes = frame.takeBlob(this.at("evidence"));
    const evidence = bytes === null ? {} : { evidence: { file_name, bytes } };
    const json = frame.takeBlob(this.at("json"));
    // A refusal and "could not tell" are verdicts; everything else is a wrong call.
    if (status > COULD_NOT_TELL || json === null) throw new TreeheadError(status, frame.readText(this.at("message")));
    return { digest: hex(digest), ...JSON.parse(decoder.decode(json)), ...evidence };
  }
}

/** The parts of a stream; browsers' streams are not iterable everywhere. */
async function* pieces(stream) {
  if (typeof stream.getReader !== "function") {
    for await (const part of stream) yield bytesOf(part, "a stream");
    return;
  }
  const reader = stream.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield bytesOf(next.value, "a stream");
  } finally {
    reader.releaseLock();
  }
}

/** Status and body of an answer; status 0 if there is none. */
async function answerOf(fetchPath, path, most) {
  try {
    const answer = await fetchPath(path, most);
    const body = typeof answer.arrayBuffer === "function" ? await answer.arrayBuffer() : answer.bytes;
    const bytes = bytesOf(body, "an answer");
    return bytes.length > most ? { status: 0, bytes: "" } : { status: answer.status, bytes };
  } catch {
    return { status: 0, bytes: "" };
  }
}

/** Fetches all tiles of a plan. */
async function filled(plan, fetchTile) {
  try {
    const waiting = plan.tiles.map((tile, at) => [tile, at]);
    const worker = async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const [tile, at] = next;
        plan.put(at, await fetchTile(tile.path, tile));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return plan;
  } catch (error) {
    plan.free();
    throw error;
  }
}

class Trust extends Handle {
  constructor(treehead, pointer) {
    super(treehead, pointer, "th_trust");
    treehead.call((frame, wasm) => {
      const out = frame.room(4);
      treehead.check(wasm.th_trust_json(pointer, out), "a trust");
      Object.assign(this, frame.takeJson(out));
    });
  }

  succeed(file, proofs) {
    return this.treehead.successor(this, file, proofs);
  }
}

class Memory extends Handle {
  bytes() {
    return this.treehead.call((frame, wasm) => {
      const out = frame.room(4);
      this.treehead.check(wasm.th_memory_to_bytes(this.pointer, out), "a memory");
      return frame.takeBlob(out);
    });
  }

  get changed() {
    return this.treehead.wasm.th_memory_is_changed(this.pointer) !== 0;
  }
}

class Hasher extends Handle {
  update(bytes) {
    const whole = bytesOf(bytes, "bytes to hash");
    for (let at = 0; at < whole.length; at += CHUNK) {
      this.treehead.call((frame, wasm) => {
        const part = frame.bytes(whole.subarray(at, at + CHUNK), "bytes to hash");
        this.treehead.check(wasm.th_hasher_update(this.pointer, ...part), "a hasher");
      });
    }
    return this;
  }

  digest() {
    return this.treehead.call((frame, wasm) => {
      const out = frame.room(HASH);
      this.treehead.check(wasm.th_hasher_finish(this.pointer, out), "a hasher");
      return frame.copy(out, HASH);
    });
  }
}

class Plan extends Handle {
  constructor(treehead, pointer, first, size) {
    super(treehead, pointer, "th_plan");
    [this.first, this.size] = [first, size];
    const count = treehead.wasm.th_plan_tiles(pointer);
    this.tiles = Array.from({ length: count }, (_, at) =>
      treehead.call((frame, wasm) => {
        const [path, width] = [frame.text(), frame.room(4)];
        treehead.check(wasm.th_plan_tile(pointer, at, path, width), "a tile");
        const text = frame.readText(path);
        const [, level, index] = /^tile\/(\d+)\/([x\d/]+)/.exec(text);
        return { path: text, level: Number(level), index: Number(index.replace(/[x/]/g, "")), width: frame.u32(width) };
      }));
  }

  put(at, tile) {
    this.treehead.call((frame, wasm) => {
      const bytes = frame.bytes(tile, "a tile");
      const { path, width } = this.tiles[at] ?? {};
      const status = wasm.th_plan_put(this.pointer, at, ...bytes);
      this.treehead.check(status, `${path}: expected ${width} hashes of 32 bytes, saw ${bytes[1]} bytes`);
    });
  }

  proveInclusion(leaf, root) {
    return this.treehead.call((frame, wasm) => {
      const [proof, count] = [frame.room(MAX_PROOF * HASH), frame.room(4)];
      const [leafAt, rootAt] = [frame.hash(leaf), frame.hash(root)];
      const status = wasm.th_plan_prove_inclusion(this.pointer, leafAt, rootAt, proof, MAX_PROOF, count);
      this.treehead.check(status, `leaf ${this.first} in the tree of ${this.size}`);
      const hashes = hashesIn(frame.copy(proof, frame.u32(count) * HASH));
      return this.treehead.inclusion(this.first, this.size, hashOf(leaf), hashOf(root), hashes);
    });
  }

  provePrefix(root) {
    return this.treehead.call((frame, wasm) => {
      const [oldRoot, proof, count] = [frame.room(HASH), frame.room(MAX_PROOF * HASH), frame.room(4)];
      const status = wasm.th_plan_prove_prefix(this.pointer, frame.hash(root), oldRoot, proof, MAX_PROOF, count);
      this.treehead.check(status, `the first ${this.first} leaves of the tree of ${this.size}`);
      const hashes = hashesIn(frame.copy(proof, frame.u32(count) * HASH));
      return { root: base64(frame.copy(oldRoot, HASH)), proof: hashes.map(base64) };
    });
  }
}

/** The hashes in bytes. */
function hashesIn(bytes) {
  return Array.from({ length: bytes.length / HASH }, (_, at) => bytes.slice(at * HASH, (at + 1) * HASH));
}

class Tree {
  #treehead;
  #fetchTile;
  /** Promises of tiles by path. */
  #tiles = new Map();

  constructor(treehead, { size, root }, fetchTile) {
    this.#treehead = treehead;
    this.#fetchTile = fetchTile;
    this.size = size;
    this.root = base64(hashOf(root));
  }

  /** Each tile is fetched once; one that could not be had is asked for again. */
  #tile(path, tile) {
    let found = this.#tiles.get(path);
    if (found === undefined) {
      found = Promise.resolve(this.#fetchTile(path, tile)).then((bytes) => bytesOf(bytes, path));
      found.catch(() => this.#tiles.delete(path));
      this.#tiles.set(path, found);
    }
    return found;
  }

  async prove(index, leaf) {
    const plan = await filled(this.#treehead.planInclusion(index, this.size), (path, tile) => this.#tile(path, tile));
    try {
      return plan.proveInclusion(leaf, this.root);
    } finally {
      plan.free();
    }
  }

  proveAll(leaves) {
    const proven = leaves.map(({ index, leaf }) => this.prove(index, leaf));
    return Promise.all(proven.map((proof) => proof.catch((error) => error)));
  }

  async proveGrowth(old) {
    const plan = await filled(this.#treehead.planPrefix(old.size, this.size), (path, tile) => this.#tile(path, tile));
    try {
      const { root, proof } = plan.provePrefix(this.root);
      if (root === base64(hashOf(old.root))) return proof;
      throw new TreeheadError(REFUSED, `the tree had another root at size ${old.size}: expected ${base64(hashOf(old.root))}, saw ${root}`);
    } finally {
      plan.free();
    }
  }

  async entries(from, to) {
    const end = Math.min(to, this.size);
    const found = [];
    for (let at = from; at < end; ) {
      const number = Math.floor(at / TILE_WIDTH);
      const tile = this.#treehead.tile("entries", number, this.size);
      const bundle = bytesOf(await this.#fetchTile(tile.path, tile), tile.path);
      const entries = this.#treehead.entries(bundle);
      const hashes = hashesIn(this.#treehead.bundleHashes(bundle));
      if (entries.length < tile.width) throw new TreeheadError(MALFORMED, `${tile.path}: expected ${tile.width} entries, saw ${entries.length}`);
      await this.#proveBundle(number, tile.width, hashes);
      for (; at < Math.min(end, (number + 1) * TILE_WIDTH); at++) {
        const leaf = at - number * TILE_WIDTH;
        found.push({ index: at, leaf_hash: hex(hashes[leaf]), entry: entries[leaf] });
      }
    }
    return found;
  }

  /** A bundle is in the tree if its hashes are the tile above it, and that tile is in the tree. */
  async #proveBundle(number, width, hashes) {
    const leaves = this.#treehead.tile(0, number, this.size);
    const first = number * TILE_WIDTH;
    // The proof of any leaf covers the whole tile: its bytes are an input of the root.
    const proven = await this.prove(first, hashes[0]);
    const tile = await this.#tile(leaves.path, leaves);
    const same = concat(hashes.slice(0, width)).every((byte, at) => byte === tile[at]);
    if (!same || proven.index !== first) {
      throw new TreeheadError(REFUSED, `the entries of bundle ${number} are not those of the tree`);
    }
  }
}
