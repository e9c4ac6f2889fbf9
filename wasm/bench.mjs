// Prints how long the module takes, beside the goals: `node wasm/bench.mjs` in Node and, where it is installed, in Chromium.
// TREEHEAD_WASM names another module than the one checked in. A browser runs it too: `bench(th, read)` returns the lines.

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

/** Browsers round the time, so what is short is done several times. */
const AT_ONCE = 10;
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
  const tell = (what, ms, goal = null) => {
    lines.push(`${what.padEnd(66)} ${ms.toFixed(3).padStart(8)} ms${goal === null ? "" : ` (goal ${goal})`}`);
  };
  const digest = th.sha256(await read("fixtures/verify/scanner.sh"));
  const fixture = (name) => read(`fixtures/verify/${name}`);
  for (const [what, trust, proof] of [
    ["Ed25519: log, witness, publisher", "witnessed", "scanner.sh"],
    ["ML-DSA-44: log, 3 witnesses; publisher Ed25519", "ml-dsa", "both"],
    ["both algorithms: log, 3 witnesses; publisher Ed25519", "both", "both"],
  ]) {
    const files = [await fixture(`${trust}.trust`), await fixture(`${proof}.tlog-proof`)];
    const question = { trust: th.trust(files[0]), proof: files[1], digest };
    const verdict = th.verify(question);
    if (!verdict.ok) throw new Error(verdict.message);
    const several = () => {
      for (let at = 0; at < AT_ONCE; at++) th.verify(question);
    };
    tell(`a verdict, ${what}`, median(several, 31) / AT_ONCE, 2);
  }
  const full = bundle();
  const rehash = () => {
    for (let leaves = 0; leaves < ENTRIES; leaves += 256) th.rootOf(th.bundleHashes(full));
  };
  tell(`${ENTRIES} entries of ${ENTRY_BYTES} bytes re-hashed`, median(rehash, 11), 150);
  const hashes = new Uint8Array(256 * 32);
  tell("the root over a tile", median(() => th.rootOf(hashes)));
  const megabytes = new Uint8Array(16 * 1024 * 1024);
  tell("SHA-256 of 16 MiB", median(() => th.sha256(megabytes), 5));
  return lines;
}

async function inNode(module) {
  const { readFile } = await import("node:fs/promises");
  const { load } = await import("./treehead.js");
  const root = new URL("../", import.meta.url);
  const th = await load(new URL(module, root));
  const read = async (path) => new Uint8Array(await readFile(new URL(path, root)));
  return bench(th, read);
}

/** In the Chromium that is installed, driven as tests/explorer/ does it. */
async function inChromium(module) {
  const { existsSync } = await import("node:fs");
  const { delimiter, join } = await import("node:path");
  const { fileURLToPath } = await import("node:url");
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const places = process.env.PATH.split(delimiter).flatMap((dir) => names.map((name) => join(dir, name)));
  const program = places.find(existsSync);
  if (program === undefined) return ["no Chromium is installed"];
  const { Browser } = await import(new URL("../tests/explorer/browser.mjs", import.meta.url));
  const { files } = await import(new URL("../tests/explorer/servers.mjs", import.meta.url));
  const server = await files(fileURLToPath(new URL("../", import.meta.url)));
  const [browser, page] = await Browser.start(program);
  try {
    await page.go(`${server.url}/wasm/tests/page.mjs`);
    return await page.eval(`import('/wasm/tests/page.mjs').then((page) => page.measure('/', ${JSON.stringify(module)}))`);
  } finally {
    await browser.close();
    server.close();
  }
}

if (typeof process !== "undefined" && process.argv[1] === (await import("node:url")).fileURLToPath(import.meta.url)) {
  const module = process.env.TREEHEAD_WASM ?? "wasm/treehead.wasm";
  console.log(`Node ${process.versions.node}, ${module}`);
  console.log((await inNode(module)).join("\n"));
  console.log("\nChromium");
  console.log((await inChromium(module)).join("\n"));
}
