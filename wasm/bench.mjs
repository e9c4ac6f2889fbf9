// Prints how long the module takes: `node wasm/bench.mjs`. A browser runs it too: `bench(th, read)` returns the lines.

/** Median milliseconds of a call, after some that warm up. */
function median(body, rounds = 101) {
  for (let at = 0; at < rounds; at++) body();
  const times = Array.from({ length: rounds }, () => {
    const start = performance.now();
    body();
    return performance.now() - start;
  });
  return times.sort((a, b) => a - b)[rounds >> 1];
}

const ENTRIES = 10_000;
const ENTRY_BYTES = 1024;

/** A bundle of 256 entries. */
function bundle() {
  const entry = 2 + ENTRY_BYTES;
  const bytes = new Uint8Array(256 * entry).map((_, at) => at % 251);
  for (let at = 0; at < bytes.length; at += entry) bytes.set([ENTRY_BYTES >> 8, ENTRY_BYTES & 255], at);
  return bytes;
}

export async function bench(th, read) {
  const lines = [];
  const tell = (what, ms) => lines.push(`${what.padEnd(52)} ${ms.toFixed(3)} ms`);
  const digest = th.sha256(await read("fixtures/verify/scanner.sh"));
  const proof = await read("fixtures/verify/scanner.sh.tlog-proof");
  for (const name of ["endpoint", "witnessed"]) {
    const trust = th.trust(await read(`fixtures/verify/${name}.trust`));
    const question = { trust, proof, digest };
    if (!th.verify(question).ok) throw new Error("the verdict is wrong");
    tell(`a verdict, Ed25519, ${name}.trust`, median(() => th.verify(question)));
  }
  const full = bundle();
  const rehash = () => {
    let leaves = 0;
    while (leaves < ENTRIES) leaves += th.rootOf(th.bundleHashes(full)).length && 256;
  };
  tell(`${ENTRIES} entries of ${ENTRY_BYTES} bytes re-hashed`, median(rehash, 11));
  const hashes = new Uint8Array(256 * 32);
  tell("the root over a tile", median(() => th.rootOf(hashes)));
  const megabytes = new Uint8Array(16 * 1024 * 1024);
  tell("SHA-256 of 16 MiB", median(() => th.sha256(megabytes), 5));
  return lines;
}

if (typeof process !== "undefined" && process.argv[1] === (await import("node:url")).fileURLToPath(import.meta.url)) {
  const { readFile } = await import("node:fs/promises");
  const { load } = await import("./treehead.js");
  const start = performance.now();
  const th = await load();
  const loaded = performance.now() - start;
  const read = async (path) => new Uint8Array(await readFile(new URL(`../${path}`, import.meta.url)));
  console.log(`${"loaded".padEnd(52)} ${loaded.toFixed(3)} ms`);
  console.log((await bench(th, read)).join("\n"));
}
