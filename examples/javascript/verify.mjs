// Verifies a file before it is used, as `treehead verify` does, in Node:
//
//     node examples/javascript/verify.mjs FILE [DIRECTORY]
//
// The proof is beside the file, as FILE.tlog-proof. DIRECTORY (by default, that of the file) has endpoint.trust, or
// endpoint.policy and publishers.toml. Exits with 0 if the file may be used, with 1 if not, with 3 if it could not tell.

import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

// From an application: the folder `wasm/` of treehead, wherever it was copied.
import { load, TreeheadError } from "../../wasm/treehead.js";

async function readTrust(treehead, directory) {
  try {
    return treehead.trust(await readFile(join(directory, "endpoint.trust")));
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
  const [policy, publishers] = ["endpoint.policy", "publishers.toml"].map((name) => readFile(join(directory, name)));
  return treehead.trustFrom(await policy, await publishers);
}

async function main(file, directory = dirname(file)) {
  const treehead = await load();
  const verdict = treehead.verify({
    trust: await readTrust(treehead, directory),
    proof: await readFile(`${file}.tlog-proof`),
    bytes: await readFile(file),
    file: basename(file),
  });
  if (verdict.ok) {
    console.log(`verified: ${verdict.purl} (${verdict.kind}, ${verdict.channel}, sequence ${verdict.sequence})`);
    console.log(`published by ${verdict.publisher}, leaf ${verdict.index} of ${verdict.origin}`);
    return 0;
  }
  console.log(`refused (${verdict.code}): ${verdict.message}`);
  console.log(verdict.advice);
  return 1;
}

try {
  if (process.argv.length < 3) throw new Error("usage: node verify.mjs FILE [DIRECTORY]");
  process.exitCode = await main(process.argv[2], process.argv[3]);
} catch (error) {
  if (!(error instanceof TreeheadError) && error.code === undefined) throw error;
  console.error(error.message);
  process.exitCode = 3;
}
