// `node --test wasm/tests/*.test.mjs`: what cases.mjs says, in headless Chromium, driven as tests/explorer/ does it.

import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { cases, equal } from "./cases.mjs";

const places = process.env.PATH.split(delimiter).flatMap((dir) => ["chromium", "chromium-browser", "google-chrome"].map((name) => join(dir, name)));
const program = places.find(existsSync);
const driver = new URL("../../tests/explorer/browser.mjs", import.meta.url);
const missing = [[program, "no Chromium is installed"], [existsSync(driver), "nothing drives a browser"]].find(([there]) => !there);

test("the cases hold in Chromium", { skip: missing?.[1] ?? false }, async (context) => {
  const { Browser } = await import(driver);
  const { files } = await import(new URL("servers.mjs", driver));
  const server = await files(fileURLToPath(new URL("../../", import.meta.url)));
  const [browser, page] = await Browser.start(program);
  try {
    await page.go(`${server.url}/wasm/tests/page.mjs`);
    const { passed, failed, times } = await page.eval("import('/wasm/tests/page.mjs').then((page) => page.run('/'))");
    equal(failed, [], "cases that failed");
    equal(passed, Object.keys(cases), "cases that passed");
    times.forEach((line) => context.diagnostic(line));
  } finally {
    await browser.close();
    server.close();
  }
});
