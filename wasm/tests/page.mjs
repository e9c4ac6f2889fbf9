// Runs the cases, or the measurements of bench.mjs, in a page: `import("/wasm/tests/page.mjs").then((page) => page.run("/"))`,
// where the repository is served at that address. Resolves to what happened, for the program that drives the browser.

import { bench } from "../bench.mjs";
import { load } from "../treehead.js";
import { cases } from "./cases.mjs";

const MODULE = "wasm/treehead.wasm";

/** Reads files of the repository; `module` is the one that is tested. */
function reader(root, module) {
  return async (path) => {
    const answer = await fetch(root + (path === MODULE ? module : path));
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return new Uint8Array(await answer.arrayBuffer());
  };
}

export async function run(root, module = MODULE) {
  const read = reader(root, module);
  const th = await load(await read(MODULE));
  const [passed, failed] = [[], []];
  for (const [name, body] of Object.entries(cases)) {
    try {
      await body(th, read);
      passed.push(name);
    } catch (error) {
      failed.push(`${name}: ${error.stack}`);
    }
  }
  return { passed, failed };
}

export async function measure(root, module = MODULE) {
  const read = reader(root, module);
  return bench(await load(await read(MODULE)), read);
}
