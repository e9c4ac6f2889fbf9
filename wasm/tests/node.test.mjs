// `node --test wasm/tests/*.test.mjs`: what cases.mjs says, with files. TREEHEAD_WASM names another module than the one checked in.

import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { load, loadSync } from "../treehead.js";
import { cases, equal } from "./cases.mjs";

const root = new URL("../../", import.meta.url);
const module = "wasm/treehead.wasm";
const built = process.env.TREEHEAD_WASM ?? module;
const read = async (path) => new Uint8Array(await readFile(new URL(path === module ? built : path, root)));
const th = await load(new URL(built, root));

for (const [name, run] of Object.entries(cases)) test(name, () => run(th, read));

test("the module comes from bytes, addresses and answers", async () => {
  const bytes = await read(module);
  const compiled = await WebAssembly.compile(bytes);
  const answer = new Response(bytes, { headers: { "content-type": "application/wasm" } });
  const sources = [bytes, bytes.buffer, compiled, answer, Promise.resolve(answer.clone()), new URL(built, root)];
  for (const source of sources) equal((await load(source)).version, th.version, "the version");
  equal(loadSync(bytes).version, loadSync(compiled).version, "the version");
});

test("the types name what there is", async () => {
  const types = new TextDecoder().decode(await read("wasm/treehead.d.ts"));
  const [, body] = /export class Treehead \{([\s\S]*?)\n\}/.exec(types);
  const declared = [...body.matchAll(/^  (\w+)\(/gm)].map(([, name]) => name);
  equal(declared.filter((name) => typeof th[name] !== "function"), [], "methods that are missing");
  equal(declared.length > 25, true, "the methods were read");
});
