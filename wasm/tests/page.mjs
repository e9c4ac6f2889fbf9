// Runs the cases in a page: `import("/wasm/tests/page.mjs").then((page) => page.run("/"))`, where the repository is served at
// that address. Resolves to what happened, for the program that drives the browser.

import { bench } from "../bench.mjs";
import { load } from "../treehead.js";
import { cases } from "./cases.mjs";

export async function run(root) {
  const read = async (path) => {
    const answer = await fetch(root + path);
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return new Uint8Array(await answer.arrayBuffer());
  };
  const th = await load();
  const [passed, failed] = [[], []];
  for (const [name, body] of Object.entries(cases)) {
    try {
      await body(th, read);
      passed.push(name);
    } catch (error) {
      failed.push(`${name}: ${error.stack}`);
    }
  }
  return { passed, failed, times: await bench(th, read) };
}
