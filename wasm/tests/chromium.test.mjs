// `node --test wasm/tests/*.test.mjs`: what cases.mjs says, in headless Chromium, driven as tests/explorer/ does it. Where it
// is missing, the test is skipped, with the reason; TREEHEAD_REQUIRE_BROWSER=1 makes that a failure.

import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { cases, equal } from "./cases.mjs";

/** Path of the module in the repository: TREEHEAD_WASM names another one than the one checked in. */
const module = process.env.TREEHEAD_WASM ?? "wasm/treehead.wasm";
const places = process.env.PATH.split(delimiter).flatMap((dir) => ["chromium", "chromium-browser", "google-chrome"].map((name) => join(dir, name)));
const program = places.find(existsSync);
const driver = new URL("../../tests/explorer/browser.mjs", import.meta.url);
const missing = [[program, "no Chromium is installed"], [existsSync(driver), "nothing drives a browser"]].find(([there]) => !there);

const isRequired = process.env.TREEHEAD_REQUIRE_BROWSER === "1";

test("the cases hold in Chromium", { skip: isRequired ? false : missing?.[1] ?? false }, async (context) => {
  if (missing) throw new Error(`TREEHEAD_REQUIRE_BROWSER is set, but ${missing[1]}`);
  const { Browser } = await import(driver);
  const { files } = await import(new URL("servers.mjs", driver));
  const server = await files(fileURLToPath(new URL("../../", import.meta.url)));
  const [browser, page] = await Browser.start(program);
  try {
    await page.go(`${server.url}/wasm/tests/page.mjs`);
    const { passed, failed } = await page.eval(`import('/wasm/tests/page.mjs').then((page) => page.run('/', ${JSON.stringify(module)}))`);
    equal(failed, [], "cases that failed");
    equal(passed, Object.keys(cases), "cases that passed");
    context.diagnostic(`${passed.length} cases`);
  } finally {
    await browser.close();
    server.close();
  }
});
