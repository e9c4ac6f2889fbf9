// `node --test wasm/tests/`: what cases.mjs says, in headless Chromium, driven as tests/explorer/ does it.

import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { Browser } from "../../tests/explorer/browser.mjs";
import { files } from "../../tests/explorer/servers.mjs";
import { cases, equal } from "./cases.mjs";

const places = process.env.PATH.split(delimiter).flatMap((dir) => ["chromium", "chromium-browser", "google-chrome"].map((name) => join(dir, name)));
const program = places.find(existsSync);

test("the cases hold in Chromium", { skip: program ? false : "no Chromium is installed" }, async (context) => {
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
