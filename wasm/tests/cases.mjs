// Tests that run in Node and in browsers. Each gets the module and `read`, which resolves to the bytes of a file of the
// repository: node.test.mjs reads files, page.mjs fetches them.

import { STRUCTS, TreeheadError } from "../treehead.js";
import { ReferenceTree, sha256 } from "./reference.mjs";

const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (string) => new TextEncoder().encode(string);

function fail(message) {
  throw new Error(message);
}

/** JSON with the members of objects in order. */
function json(value) {
  const sorted = (_, inner) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner;
  return JSON.stringify(value, sorted);
}

export function equal(seen, expected, what) {
  const [one, two] = [json(seen), json(expected)];
  if (one !== two) fail(`${what}: expected ${two}, saw ${one}`);
}

function holds(condition, what) {
  if (!condition) fail(`${what} does not hold`);
}

/** Runs something that has to throw a TreeheadError with this code. */
async function throws(code, body, what) {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof TreeheadError)) throw error;
    equal(error.code, code, `${what} (${error.message})`);
    return error;
  }
  return fail(`${what}: expected ${code}, saw no error`);
}

/** The trust file of a policy and a publishers file, as `treehead trust make` makes it: the module reads no TOML. */
function trustFile(policy, publishers) {
  const lines = policy.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));
  const list = (toml, name) => JSON.parse(new RegExp(`^${name} = (\\[.*\\])`, "m").exec(toml)[1]);
  // The raw key is at the end of the DER in a PEM.
  const key = (pem) => ({ ed25519: btoa(atob(pem).slice(-32)) });
  const publisher = (toml) => ({
    keys: [...toml.matchAll(/KEY-----\n([\w+/=]+)\n-----END/g)].map(([, pem]) => key(pem)),
    kinds: list(toml, "kinds"),
    name: /^name = "(.*)"/m.exec(toml)[1],
    purls: list(toml, "purls"),
  });
  const blocks = publishers.split("[[publisher]]").slice(1);
  return json({ format: "treehead-trust@v1", number: 1, policy: lines, publishers: blocks.map(publisher) });
}

/** The trust in a policy and a publishers file of fixtures/verify. */
async function trustOf(th, read, policy = "endpoint.policy", publishers = "publishers.toml") {
  const files = [policy, publishers].map((file) => read(`fixtures/verify/${file}`));
  return th.trust(trustFile(...(await Promise.all(files)).map(text)));
}

/** A trust file replaces the one before, and nothing else does. */
async function successors(th, read) {
  const file = (name) => read(`fixtures/verify/${name}`);
  const names = ["1.trust", "2.trust", "2.trust.tlog-proof", "scanner.sh.tlog-proof", "witnessed.trust"];
  const [one, two, proof, other, fixed] = await Promise.all(names.map(file));
  const trust = th.trust(one);
  const next = trust.succeed(two, [proof]);
  equal([trust.number, next.number], [1, 2], "the numbers");
  equal(trust.succeed(two, [proof, proof]).number, 2, "a proof that is there twice");
  equal(trust.succeed(one, []).number, 1, "the very same file");
  await throws("trust-rollback", () => next.succeed(one, [proof]), "an older one");
  await throws("trust-not-replaceable", () => th.trust(fixed).succeed(two, [proof]), "one without a rule");
  await throws("trust-too-few-signers", () => trust.succeed(two, []), "no proof");
  await throws("trust-other-release", () => trust.succeed(two, [other]), "the proof of another release");
  await throws("trust-not-proven", () => trust.succeed(two, [proof.slice(1)]), "a damaged proof");
  await throws("trust-fork", () => trust.succeed(fixed, [proof]), "another one with the same number");
  await throws("trust-malformed", () => trust.succeed(two.slice(1), [proof]), "a damaged file");
  await throws("invalid-argument", () => trust.succeed(7, [proof]), "no bytes");
}

// -- Verdicts: those that tests/cli/verify.trycmd has for the program --

/** The commands of a trycmd file with what they print. */
function commandsIn(file) {
  const blocks = [...file.matchAll(/```console\n\$ (.*)\n([\s\S]*?)```/g)];
  return blocks.map(([, command, printed]) => ({ words: command.split(" ").slice(1), printed }));
}

/** Options of `treehead verify` and members of a question. */
const OPTIONS = {
  "--purl": "purl", "--channel": "channel", "--kind": "kind", "--publisher": "publisher", "--audience": "audience",
  "--name": "name",
};

/** What a command asks, or null if it is no question about one file. */
async function questionOf(th, read, words) {
  const [file, ...options] = words.slice(1);
  const question = { file, bytes: null };
  let [policy, publishers, proof] = [undefined, undefined, `${file}.tlog-proof`];
  for (let at = 0; at < options.length; at++) {
    const option = options[at];
    if (option === "--json") continue;
    const value = options[++at];
    if (option === "--policy") policy = value.replace("fixtures/verify/", "");
    else if (option === "--publishers") publishers = value.replace("fixtures/verify/", "");
    else if (option === "--proof") proof = value;
    else if (option === "--max-age") question.maxAge = parseInt(value, 10) * 3600;
    else if (option in OPTIONS) question[OPTIONS[option]] = value;
    else return null;
  }
  question.bytes = await read(file);
  question.proof = await read(proof);
  question.trust = await trustOf(th, read, policy, publishers);
  return question;
}

/**
 * A snapshot's text, in which `[..]` stands for anything on a line. After a message, the program may name a command of its
 * own that helps.
 */
function matches(seen, snapshot) {
  const pattern = snapshot.split("[..]").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join(".*");
  return new RegExp(`^${pattern}$`).test(seen) || (snapshot.startsWith(`${seen}; \`treehead `) && seen !== "");
}

async function sameVerdictsAsTheProgram(th, read) {
  const commands = commandsIn(text(await read("tests/cli/verify.trycmd")));
  let [told, compared] = [0, 0];
  for (const { words, printed } of commands) {
    // Exit code 2: the command is wrong.
    if (words[0] !== "verify" || printed.startsWith("? 2")) continue;
    const question = await questionOf(th, read, words);
    if (question === null) continue;
    const verdict = th.verify(question);
    const what = words.join(" ");
    const lines = printed.split("\n");
    if (lines[0] === "? 1") lines.shift();
    if (words.includes("--json")) {
      const expected = JSON.parse(lines[0]);
      for (const [name, value] of Object.entries(verdict)) {
        if (!(name in expected)) continue;
        const same = typeof value === "string" ? matches(value, expected[name]) : json(value) === json(expected[name]);
        holds(same, `${what}: ${name} ${json(expected[name])}, saw ${json(value)}`);
        compared += 1;
      }
      equal(verdict.code, expected.code, what);
    } else {
      const [, code, message] = /^refused \(([a-z-]+)\): (.*)$/.exec(lines[0]) ?? [null, "verified", null];
      equal(verdict.code, code, what);
      if (message !== null) holds(matches(verdict.message, message), `${what}: "${message}", saw "${verdict.message}"`);
      if (message !== null) equal(verdict.advice, lines[1], what);
    }
    equal(verdict.ok, verdict.code === "verified", what);
    holds(verdict.ok ? verdict.number === 0 : verdict.number >= 600, `${what}: a number`);
    told += 1;
  }
  holds(told >= 17 && compared >= 40, `${told} commands and ${compared} members of their output`);
}

async function pins(th, read) {
  const trust = await trustOf(th, read);
  const question = {
    trust, proof: await read("fixtures/verify/scanner.sh.tlog-proof"), bytes: await read("fixtures/verify/scanner.sh"),
  };
  const verdicts = [
    [{}, "verified"],
    [{ purl: "pkg:generic/example/scanner@2.0" }, "verified"],
    [{ purl: "pkg:generic/example/*" }, "verified"],
    [{ purl: "pkg:generic/example/scanner@2.1" }, "other-package"],
    [{ channel: "stable", kind: "build", publisher: "vendor", minSequence: 2, name: "scanner.sh" }, "verified"],
    [{ channel: "beta" }, "other-channel"],
    [{ kind: "update" }, "other-kind"],
    [{ publisher: "somebody" }, "other-publisher"],
    [{ audience: "somebody" }, "other-audience"],
    [{ minSequence: 3 }, "below-min-sequence"],
    [{ name: "other.sh" }, "artifact-swapped"],
    [{ bytes: bytes("another program") }, "artifact-mismatch"],
    [{ digest: "0".repeat(64) }, "artifact-mismatch"],
    [{ maxAge: 60 }, "stale"],
    [{ proof: "no proof" }, "proof-malformed"],
  ];
  for (const [asked, code] of verdicts) equal(th.verify({ ...question, ...asked }).code, code, JSON.stringify(asked));
  const witnessed = { ...question, trust: await trustOf(th, read, "witnessed.policy") };
  // The witness cosigned at 2026-02-02T02:40:00Z.
  const time = Date.parse("2026-02-02T02:40:00Z") / 1000;
  equal(th.verify({ ...witnessed, now: time + 60, maxAge: 60 }).code, "verified", "a minute old");
  equal(th.verify({ ...witnessed, now: new Date((time + 61) * 1000), maxAge: 60 }).code, "stale", "too old");
  equal(th.verify({ ...witnessed, now: time - 301 }).code, "from-the-future", "from the future");
  // A trust file that asks for an attestation, and the bundle that has it.
  const gated = { bytes: question.bytes, trust: th.trust(await read("fixtures/verify/gated.trust")) };
  const attested = { ...gated, proof: await read("fixtures/verify/gated.tlog-bundle") };
  equal(th.verify(attested).code, "verified", "a release with its attestation");
  const bare = th.verify({ ...gated, proof: await read("fixtures/verify/scanner.sh.tlog-proof") });
  equal(bare.code, "attestations", "a release without it");
  holds(bare.message.includes("verification-summary by 1 of (auditor)"), "the refusal names what is missing");
  await throws("invalid-argument", () => th.verify({ ...question, purl: "no purl" }), "a pin that is no purl");
  await throws("invalid-argument", () => th.verify({ ...question, kind: "no kind" }), "a pin that is no kind");
  await throws("invalid-argument", () => th.verify({ ...question, proof: 7 }), "a number as a proof");
  await throws("invalid-argument", () => th.verify({ ...question, trust: {} }), "an object as a trust");
}

async function memories(th, read) {
  const trust = await trustOf(th, read, "witnessed.policy");
  const question = {
    trust, proof: await read("fixtures/verify/scanner.sh.tlog-proof"), bytes: await read("fixtures/verify/scanner.sh"),
  };
  const memory = th.memory();
  holds(!memory.changed, "nothing is remembered yet");
  equal(th.verify({ ...question, memory }).code, "verified", "the first verdict");
  holds(memory.changed, "a verdict is remembered");
  const kept = memory.bytes();
  holds(!memory.changed, "kept");
  const again = th.memory(kept);
  equal(text(again.bytes()), text(kept), "a memory that was read");
  equal(th.verify({ ...question, memory: again }).code, "verified", "the second verdict");
  holds(text(kept).includes("log.example.com/releases"), "the head is remembered");
  // Another sequence of the same length: the checksum finds it.
  const changed = text(kept).replace(/"sequence": 2/, '"sequence": 1');
  await throws("could-not-tell", () => th.memory(changed), "a damaged memory");
  const refused = th.memory();
  equal(th.verify({ ...question, memory: refused, channel: "beta" }).code, "other-channel", "a refusal");
  holds(!refused.changed, "a refusal is not remembered");
  [memory, again, refused].forEach((object) => object.free());
  await throws("invalid-argument", () => memory.bytes(), "a freed memory");
}

// -- What files say --

async function files(th, read) {
  const trust = await trustOf(th, read, "witnessed.policy");
  equal(trust.logs.map((log) => log.origin), ["log.example.com/releases"], "the trusted log");
  equal([trust.publishers, trust.witnesses, trust.number], [["vendor"], ["w1"], 1], "the rest of the trust");
  const file = th.trust(await read("fixtures/verify/witnessed.trust"));
  equal([file.logs, file.quorum, file.witnesses, file.publishers], [trust.logs, trust.quorum, trust.witnesses, trust.publishers], "the trust file");
  const heads = th.trustFrom(await read("fixtures/verify/witnessed.policy"));
  equal([heads.quorum, heads.publishers, heads.number], [trust.quorum, [], null], "a policy alone");
  await throws("unsupported", () => th.trustFrom("quorum none\n", "[[publisher]]"), "a file of publishers");
  await throws("malformed", () => th.trustFrom("no policy"), "no policy");
  await throws("malformed", () => th.trust("no trust file"), "no trust file");

  const proof = th.readProof(await read("fixtures/verify/scanner.sh.tlog-proof"));
  equal([proof.index, proof.checkpoint.size, proof.proof.length], [2, 5, 3], "the proof");
  equal(th.hex(th.leafHash(proof.entry)), proof.leaf_hash, "the entry's hash");
  equal(text(proof.entry), text(await read("fixtures/verify/entry.json")).trimEnd(), "the entry");
  equal(th.readProof(await read("fixtures/verify/bare.tlog-proof")).entry, null, "a proof without an entry");
  const bundle = th.readProof(await read("fixtures/verify/gated.tlog-bundle"));
  equal([bundle.what, bundle.checkpoint.size, bundle.proof.length], ["bundle", 5, 2], "the bundle");
  equal(bundle.entries.map(({ index }) => index), [2, 3], "its entries");
  for (const one of bundle.entries) equal(th.hex(th.leafHash(one.entry)), one.leaf_hash, `the hash of entry ${one.index}`);
  equal(bundle.entries.map(({ entry }) => th.readEntry(entry).what), ["release", "verification-summary"], "what they say");
  equal(th.readEntry(bundle.entries[0].entry).families, ["ed25519"], "the family of its key");
  await throws("malformed", () => th.readProof("treehead-bundle@v1\n"), "a bundle without an entry");

  const entry = th.readEntry(proof.entry, trust, "log.example.com/releases");
  equal([entry.what, entry.purl, entry.sequence], ["release", "pkg:generic/example/scanner@2.0", 2], "the statement");
  equal([entry.publishers, entry.signers, entry.problem], [["vendor"], ["vendor"], null], "who stands behind it");
  holds(entry.words.some(({ label, text }) => label === "release" && text === entry.purl), "the purl in words");
  const elsewhere = th.readEntry(proof.entry, await trustOf(th, read, "endpoint.policy", "other-publishers.toml"), "x");
  equal([elsewhere.publishers, elsewhere.problem.code], [[], "unknown-publisher"], "another publisher");
  for (const [file, what] of [["withdrawal", "withdrawal"], ["provenance", "provenance"], ["summary", "verification-summary"]]) {
    equal(th.readEntry(text(await read(`fixtures/verify/${file}.json`)).trimEnd()).what, what, file);
  }
  equal(th.readEntry("anything").what, "opaque", "an entry that is no statement");

  const head = th.checkpoint(await read("fixtures/verify/checkpoint"), trust);
  equal([head.origin, head.size, head.quorum.reached], ["log.example.com/releases", 5, true], "the head");
  equal(head.signatures.map((line) => [line.role, line.verified]), [["log", true], ["witness", true]], "its lines");
  equal(head.witnesses, [{ cosigner: "w1", name: "w1", time: "2026-02-02T02:40:00Z" }], "its witness");
  equal(head.note, text(await read("fixtures/verify/checkpoint")), "its note");
  const demanding = th.checkpoint(head.note, await trustOf(th, read, "other-witness.policy"));
  equal([demanding.quorum.reached, demanding.quorum.code], [false, "no-quorum"], "a quorum of others");
  holds(!demanding.note.includes("witness.example.com"), "a line by nobody known is left out");
  const stranger = await trustOf(th, read, "other-log.policy");
  await throws("refused", () => th.checkpoint(head.note, stranger), "a head of another log");
  equal(th.readCheckpoint(head.note).size, 5, "an unverified head");
  equal(th.shown("a\u202eb\u0007\nü"), "a\\u{202e}b\\u{7}\\nü", "a text from elsewhere");
}

async function evidence(th, read) {
  const trust = await trustOf(th, read, "witnessed.policy");
  for (const [file, sizes] of [["unequal", [3, 5]], ["same-size", [5, 5]]]) {
    const fork = th.verifyEvidence(await read(`fixtures/evidence/${file}.tlog-fork`), trust);
    equal([fork.smaller.size, fork.larger.size], sizes, file);
    equal(fork.origin, "log.example.com/releases", file);
  }
  const grown = await read("fixtures/evidence/grown.tlog-fork");
  await throws("refused", () => th.verifyEvidence(grown, trust), "heads of one history");
  await throws("malformed", () => th.verifyEvidence("no evidence", trust), "no evidence");

}

/** The two heads in a file of fixtures/evidence. */
async function headsIn(th, read, trust, file) {
  const parts = text(await read(`fixtures/evidence/${file}.tlog-fork`)).trimEnd().split("\n\n");
  return [`${parts[1]}\n\n${parts[2]}\n`, `${parts[3]}\n\n${parts[4]}\n`].map((note) => th.checkpoint(note, trust));
}

async function comparisons(th, read) {
  const trust = await trustOf(th, read, "witnessed.policy");
  const noTile = () => fail("no tile is needed");
  const same = await headsIn(th, read, trust, "same-size");
  const compared = await th.compare(same[0], same[1], noTile);
  equal(compared.relation, "forked", "two heads of one size");
  equal(th.verifyEvidence(compared.evidence.bytes, trust).file_name, compared.evidence.file_name, "its evidence");
  equal((await th.compare(same[0], same[0], noTile)).relation, "same", "one head twice");

  // Heads of sizes 3 and 5. The histories differ from the second leaf on, as tests/fixtures.rs makes them.
  const history = (name) => ReferenceTree.over(["entry 0", ...[1, 2, 3, 4].map((at) => `entry ${at} of ${name}`)]);
  const [shown, others] = await Promise.all(["what one endpoint was shown", "what others were shown"].map(history));
  const tilesOf = (tree) => async (path) => {
    equal(path, "tile/0/000.p/5", "the only tile");
    return tree.tile(path, 5);
  };
  const [old, head] = await headsIn(th, read, trust, "grown");
  equal([old.size, head.size], [3, 5], "the sizes");
  for (const pair of [[old, head], [head, old]]) {
    const grown = await th.compare(...pair, tilesOf(others));
    equal([grown.relation, grown.from, grown.to], ["grown", 3, 5], "one history");
    th.verifyConsistency(old, head, grown.proof);
    await throws("refused", () => th.verifyConsistency({ ...old, root: same[1].root }, head, grown.proof), "another root");
  }
  const [hidden, newer] = await headsIn(th, read, trust, "unequal");
  const forked = await th.compare(hidden, newer, tilesOf(others));
  equal(forked.relation, "forked", "two histories of unequal sizes");
  holds(forked.evidence.file_name.includes("-3-5-"), forked.evidence.file_name);
  const judged = th.verifyEvidence(forked.evidence.bytes, trust);
  equal([judged.smaller.size, judged.larger.size], [3, 5], "its evidence");
  equal(text(forked.evidence.bytes), text(await read("fixtures/evidence/unequal.tlog-fork")), "that of the core");
  // Tiles that do not lead to the larger head prove nothing against the log.
  await throws("could-not-tell", () => th.compare(hidden, newer, tilesOf(shown)), "tiles of another history");
  await throws("could-not-tell", () => th.compare(old, head, tilesOf(shown)), "tiles of another history");
  await throws("malformed", () => th.compare(old, head, async () => new Uint8Array(64)), "a short tile");
}

/** A log with one withdrawal of the fixtures' release, or none: the tree of five leaves, and what finds it. */
async function online(th, read) {
  const trust = await trustOf(th, read, "witnessed.policy");
  const question = {
    trust, proof: await read("fixtures/verify/scanner.sh.tlog-proof"), bytes: await read("fixtures/verify/scanner.sh"),
  };
  const head = await read("fixtures/verify/checkpoint");
  const none = { status: 404, bytes: new Uint8Array() };
  const ask = async (releases) => {
    const paths = [];
    const verdict = await th.verifyOnline(question, async (path) => {
      paths.push(path);
      if (path === "checkpoint") return { status: 200, bytes: head };
      return path.startsWith("releases?") ? releases(path) : none;
    });
    return { verdict, paths };
  };
  const found = (rows, next = null, size = 5) => ({
    status: 200, bytes: bytes(JSON.stringify({ tree_size: size, releases: rows, next })),
  });
  let { verdict, paths } = await ask(() => none);
  equal([verdict.code, verdict.withdrawals, paths.length], ["verified", "not-asked", 2], "a log without a search");
  ({ verdict, paths } = await ask(() => found([])));
  equal([verdict.code, verdict.withdrawals, paths.length], ["verified", "learnt", 5], "nothing is withdrawn");
  holds(paths[1] === `releases?limit=100&withdraws=${verdict.leaf_hash}`, paths[1]);
  holds(paths[2].includes("package=pkg%3Ageneric%2Fexample%2Fscanner&") && paths[2].endsWith("&publisher=vendor"), paths[2]);
  const row = { index: 4, leaf_hash: "0".repeat(64), kind: "withdrawal" };
  for (const [what, releases] of [
    ["a withdrawal that is not shown", () => found([row])],
    ["an old answer", () => found([], null, 4)],
    ["no JSON", () => ({ status: 200, bytes: bytes("<html>") })],
    ["an error", () => ({ status: 500, bytes: bytes("") })],
    ["a search without an end", (path) => found([], (/before=(\d+)/.exec(path)?.[1] ?? 1000) - 1)],
    ["no answer", () => Promise.reject(new Error("offline"))],
  ]) {
    ({ verdict } = await ask(releases));
    equal(verdict.code, "could-not-tell", what);
  }
}

async function postQuantum(th, read) {
  const question = { proof: text(await read("fixtures/verify/both.tlog-proof")), bytes: await read("fixtures/verify/scanner.sh") };
  const trusts = ["both", "ml-dsa"].map(async (name) => th.trust(await read(`fixtures/verify/${name}.trust`)));
  const [both, mlDsa] = await Promise.all(trusts);
  for (const trust of [both, mlDsa]) equal(th.verify({ ...question, trust }).code, "verified", "the proof");
  // Without the lines with Ed25519, which are short.
  const isSignature = (line) => line.startsWith("\u2014");
  const lines = question.proof.split("\n").filter((line) => !isSignature(line) || line.length > 2000);
  const judge = (trust, changed) => th.verify({ ...question, trust, proof: changed.join("\n") }).code;
  equal(lines.filter(isSignature).length, 4, "signatures with ML-DSA-44");
  equal([judge(mlDsa, lines), judge(both, lines)], ["verified", "no-quorum"], "ML-DSA-44 alone");
  // A changed signature with ML-DSA-44: of the log, of a witness; and a missing one.
  const at = lines.findIndex(isSignature);
  for (const [line, code] of [[at, "checkpoint-signature"], [at + 1, "cosignature"]]) {
    const [dash, name, signature] = lines[line].split(" ");
    const middle = signature.length >> 1;
    const other = signature.slice(0, middle) + (signature[middle] === "A" ? "B" : "A") + signature.slice(middle + 1);
    const changed = lines.map((old, place) => (place === line ? `${dash} ${name} ${other}` : old));
    equal(judge(mlDsa, changed), code, `a changed signature of ${name}`);
  }
  equal(judge(mlDsa, lines.filter((_, place) => place !== at + 3)), "no-quorum", "two of three witnesses");
}

// -- Trees, by a slow tree of our own --

async function trees(th) {
  const [tree, other] = [await ReferenceTree.of(600), await sha256(bytes("another root"))];
  for (const size of [1, 2, 3, 5, 8, 255, 256, 257, 511, 512, 513, 600]) {
    const root = await tree.root(0, size);
    equal(th.base64(th.rootOf(tree.leaves(0, size))), th.base64(root), `root of ${size}`);
    const here = th.tree({ size, root }, (path) => tree.tile(path, size));
    const indices = [...new Set([0, 1, size >> 1, size - 2, size - 1, 255, 256, 511, 512])].filter((at) => at >= 0 && at < size);
    const proofs = await here.proveAll(indices.map((index) => ({ index, leaf: tree.leaf(index) })));
    for (const [at, proof] of proofs.entries()) {
      if (proof instanceof Error) throw proof;
      const index = indices[at];
      equal(proof.proof, (await tree.path(index, size)).map((hash) => th.base64(hash)), `proof of ${index} in ${size}`);
      equal(proof.path.at(-1)?.parent ?? th.base64(tree.leaf(index)), th.base64(root), `way up from ${index} in ${size}`);
      for (const step of proof.path) {
        equal(step.sibling, th.base64(await tree.root(step.first, step.end)), `sibling of ${index} in ${size}`);
        equal(step.parent, th.base64(await tree.root(step.parent_first, step.parent_end)), `parent of ${index} in ${size}`);
      }
      equal(th.verifyInclusion(index, proof.leaf_hash, { size, root }, proof.proof), proof, "a ready proof");
      await throws("refused", () => th.verifyInclusion(index, other, { size, root }, proof.proof), "another leaf");
    }
    for (const old of [0, 1, 3, size >> 1, size - 1, size].filter((old) => old <= size)) {
      const oldRoot = await tree.root(0, old);
      const proof = await here.proveGrowth({ size: old, root: oldRoot });
      th.verifyConsistency({ size: old, root: oldRoot }, { size, root }, proof);
      await throws("refused", () => here.proveGrowth({ size: old, root: other }), `another root at ${old}`);
    }
  }
}

async function wrongTiles(th) {
  const [size, index] = [600, 300];
  const tree = await ReferenceTree.of(size);
  const head = { size, root: await tree.root(0, size) };
  const paths = th.planInclusion(index, size).tiles.map(({ path }) => path);
  equal(paths, ["tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"], "the tiles of a proof");
  for (const wrong of paths) {
    const changed = (path) => {
      const tile = tree.tile(path, size).slice();
      // A hash of the tile beside the leaf's own, which is not an input.
      if (path === wrong) tile[0] ^= 1;
      return tile;
    };
    await throws("refused", () => th.tree(head, changed).prove(index, tree.leaf(index)), `a wrong ${wrong}`);
    const short = (path) => tree.tile(path, size).slice(path === wrong ? 32 : 0);
    await throws("malformed", () => th.tree(head, short).prove(index, tree.leaf(index)), `a short ${wrong}`);
  }
  const missing = th.planInclusion(index, size);
  await throws("could-not-tell", () => missing.proveInclusion(tree.leaf(index), head.root), "missing tiles");
  missing.free();
  // A log may have dropped a partial tile, and show the full one.
  const longer = await ReferenceTree.of(768);
  const grown = (path) => (path === "tile/0/002.p/88" ? longer.tile("tile/0/002", 768) : longer.tile(path, size));
  const full = th.tree({ size, root: await longer.root(0, size) }, grown);
  await full.prove(index, longer.leaf(index));
  await throws("invalid-argument", () => th.planInclusion(600, 600), "no such leaf");
  await throws("invalid-argument", () => th.planInclusion(-1, 600), "a negative index");
  await throws("invalid-argument", () => th.planInclusion(2 ** 53, 2 ** 53), "too large a tree");
  equal(th.tile("entries", 1_234_067, 1_234_067 * 256 + 5).path, "tile/entries/x001/x234/067.p/5", "a path");
}

async function bundles(th) {
  const size = 600;
  const tree = await ReferenceTree.of(size);
  const head = { size, root: await tree.root(0, size) };
  const bundle = tree.bundle("tile/entries/002.p/88");
  equal(th.entries(bundle).map(text), tree.texts(512, 600), "the entries of a bundle");
  equal(th.hex(th.bundleHashes(bundle)), th.hex(tree.leaves(512, 600)), "their hashes");
  await throws("malformed", () => th.bundleHashes(bundle.subarray(0, bundle.length - 1)), "a bundle that is cut");
  await throws("malformed", () => th.entries(bundle.subarray(0, bundle.length - 1)), "a bundle that is cut");
  const fetched = (path) => (path.includes("entries") ? tree.bundle(path) : tree.tile(path, size));
  const entries = await th.tree(head, fetched).entries(250, 520);
  equal(entries.map(({ index }) => index), Array.from({ length: 270 }, (_, at) => 250 + at), "the indices");
  equal(entries.map(({ entry }) => text(entry)), tree.texts(250, 520), "the entries");
  equal(entries[7].leaf_hash, th.hex(tree.leaf(257)), "a leaf hash");
  // Each entry of a bundle counts, not only those that were asked for.
  for (const at of [2, bundle.length - 1]) {
    const other = bundle.slice();
    other[at] ^= 1;
    const swapped = (path) => (path === "tile/entries/002.p/88" ? other : fetched(path));
    await throws("refused", () => th.tree(head, swapped).entries(550, 551), `a changed entry at byte ${at}`);
  }
}

async function hashing(th) {
  const long = new Uint8Array(200_000).map((_, at) => at % 251);
  const expected = th.hex(await sha256(long));
  equal(th.hex(th.sha256(long)), expected, "bytes");
  const seen = [];
  equal(th.hex(await th.sha256Of(new Blob([long]), (count) => seen.push(count))), expected, "a blob");
  equal(seen.at(-1), long.length, "progress");
  const hasher = th.hasher();
  for (let at = 0; at < long.length; at += 999) hasher.update(long.subarray(at, at + 999));
  equal(th.hex(hasher.digest()), expected, "updates");
  equal(th.hex(hasher.digest()), th.hex(await sha256(new Uint8Array())), "empty again");
  hasher.free();
  equal(th.base64(th.hash(expected)), th.base64(th.hash(th.base64(th.hash(expected)))), "spellings of a hash");
  await throws("invalid-argument", () => th.hash("0".repeat(63)), "too short a hash");
  equal(th.base64(new Uint8Array()), "", "no bytes");
}

// -- The module --

async function theModule(th, read) {
  const module = await WebAssembly.compile(await read("wasm/treehead.wasm"));
  equal(WebAssembly.Module.imports(module), [], "imports");
  const declared = text(await read("capi/include/treehead.h"));
  const odd = WebAssembly.Module.exports(module).map(({ name }) => name).filter((name) => name.startsWith("th_") && !declared.includes(`${name}(`));
  equal(odd, [], "exports that the header does not have");
  holds(/^\d+\.\d+\.\d+$/.test(th.version) && th.abiVersion >= 1, "versions");
}

/** Types of the header, and of STRUCTS. */
const TYPES = {
  size_t: "usize", uint32_t: "u32", int32_t: "u32", uint64_t: "u64", uint8_t: "hash", th_str: "str", th_bytes: "bytes",
  th_text: "text", th_blob: "usize",
};

async function structs(th, read) {
  const header = text(await read("capi/include/treehead.h")).replace(/\/\*[\s\S]*?\*\//g, "");
  for (const [name, members] of Object.entries(STRUCTS)) {
    const [, body] = new RegExp(`struct ${name} \\{([^}]*)\\}`).exec(header) ?? fail(`no ${name} in the header`);
    const declared = body.split(";").map((line) => /^\s*(?:const )?(?:struct )?(\w+)\s+\**\s*(\w+)/.exec(line)).filter(Boolean);
    const expected = declared.map(([, type, member]) => `${member} ${TYPES[type] ?? type}`);
    equal(members.split(",").map((member) => member.trim().replace(/\s+/g, " ")), expected, name);
  }
}

export const cases = {
  "verdicts are those of the program": sameVerdictsAsTheProgram,
  "each pin counts": pins,
  "trust files replace each other": successors,
  "memories remember, and notice damage": memories,
  "files are read": files,
  "forks are proven": evidence,
  "heads are compared": comparisons,
  "a log is asked for withdrawals": online,
  "ML-DSA-44 is verified": postQuantum,
  "proofs are made from tiles": trees,
  "wrong tiles prove nothing": wrongTiles,
  "bundles are re-hashed": bundles,
  "hashes are those of the platform": hashing,
  "the module has no imports": theModule,
  "structs are those of the header": structs,
};
