// Asks whether a file may be installed: node verify.mjs endpoint.trust FILE

import { readFile } from "node:fs/promises";

// The folder `wasm/` of treehead, wherever it was copied.
import { load } from "../../wasm/treehead.js";

const [trust, file] = process.argv.slice(2);
if (file === undefined) {
  console.error("usage: verify.mjs TRUST FILE");
  process.exit(2);
}
const treehead = await load();
const verdict = treehead.verify({
  trust: treehead.trust(await readFile(trust)),
  proof: await readFile(`${file}.tlog-proof`),
  bytes: await readFile(file),
  file,
});
if (verdict.ok) {
  console.log(`${file}: ${verdict.purl} by ${verdict.publisher}`);
} else {
  console.error(`${file}: ${verdict.code}: ${verdict.message}\n${verdict.advice}`);
  process.exitCode = 1;
}
