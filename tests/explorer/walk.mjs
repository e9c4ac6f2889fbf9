// Walks through the explorer: node walk.mjs SETTINGS.json. tests/machine/explorer.rs writes the settings and serves the logs.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { Browser, sleep } from "./browser.mjs";
import { files, proxy } from "./servers.mjs";

const settings = JSON.parse(readFileSync(process.argv[2], "utf8"));
const basics = readFileSync(new URL("basics.js", import.meta.url), "utf8");
const shots = settings.screenshots;
if (shots) mkdirSync(shots, { recursive: true });

const front = await proxy(settings.log);
const [browser, page] = await Browser.start(settings.chromium);
let failed = 0;
/** Where the page may ask: the log alone. */
let allowed = [front.url];

async function step(name, walk) {
  const began = Date.now();
  try {
    await walk();
    assert.deepEqual(page.errors, [], "no errors of scripts, and none of the content security policy");
    const elsewhere = page.asked.filter((url) => !["blob:", ...allowed].some((origin) => url.startsWith(origin)));
    assert.deepEqual(elsewhere, [], "the page asks nobody but the log");
    console.log(`ok      ${name} (${Date.now() - began} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}: ${error.stack}`);
    if (shots) await page.screenshot(join(shots, `failed-${failed}.png`)).catch(() => {});
  }
  page.errors.length = 0;
  page.asked.length = 0;
}

/** Looks at a view wide and narrow, light and dark. */
async function looks(name) {
  const faults = [];
  for (const [width, height] of [[1280, 900], [390, 844]]) {
    for (const dark of [false, true]) {
      await page.size(width, height, dark);
      const found = await page.eval(basics);
      faults.push(...found.map((fault) => `${name} ${width} ${dark ? "dark" : "light"}: ${fault}`));
      if (shots) await page.screenshot(join(shots, `${name}-${width === 390 ? "narrow" : "wide"}-${dark ? "dark" : "light"}.png`));
    }
  }
  await page.size(1280, 900, false);
  assert.deepEqual(faults, []);
}

const state = () => page.eval("document.getElementById('state').textContent");
const rows = (selector = "") => page.eval(`document.querySelectorAll('.rows > .row${selector}').length`);
const has = async (text) => assert.ok((await page.text()).includes(text), `the page says ${JSON.stringify(text)}: ${(await page.text()).slice(0, 3_000)}`);
const click = (text) => page.eval(`[...document.querySelectorAll('main button, #alarm button')].find((button) => button.textContent.includes(${JSON.stringify(text)})).click()`);

await step("the overview: a verified head with its quorum, and the newest entries, proven", async () => {
  await page.go(`${front.url}/`);
  await page.until("the head is verified", "document.getElementById('state').textContent.includes('verified')");
  await page.settled("the overview");
  assert.match(await state(), /^[\d,]+ leaves, verified$/);
  await has(settings.origin);
  await has("2 of");
  await has("first visit");
  assert.equal(await rows(), 8);
  assert.equal(await page.eval("document.querySelectorAll('.row .badge.good').length >= 8"), true);
  assert.equal(await page.eval("document.querySelectorAll('.subtree').length > 0"), true);
});

await step("a second visit finds the log unchanged, and growth is a proven continuation", async () => {
  await page.go(`${front.url}/?again`);
  await page.settled("the overview");
  await has("unchanged");
  await fetch(new URL("/add", settings.log), { method: "POST", body: readFileSync(settings.entry) });
  await sleep(100);
  const before = await state();
  await page.eval("document.dispatchEvent(new Event('visibilitychange'))");
  await page.until("the new head is seen", `document.getElementById('state').textContent !== ${JSON.stringify(before)}`);
  await page.settled("the overview");
  await has("grown");
  await has("nothing was taken back");
  await looks("overview");
});

await step("search by each field and by several at once", async () => {
  for (const [query, expected] of settings.searches) {
    await page.view(`#/releases?${query}&rows=100`);
    assert.equal(await rows(), expected, query);
    assert.equal(await rows(".wrong"), 0, query);
    if (expected > 0) await has("all proven from tiles");
    else await has("Nothing in this log matches");
  }
});

await step("releases: one field takes names, package URLs and digests", async () => {
  await page.view("#/releases");
  await looks("releases");
  for (const [typed, expected] of settings.typed) {
    await page.view("#/releases");
    await page.eval(`(() => { const field = document.getElementById('search'); field.value = ${JSON.stringify(typed)}; field.form.requestSubmit(); })()`);
    await sleep(100);
    await page.settled(typed);
    assert.equal(await rows(), expected, typed);
  }
  await page.view("#/releases?name=scan&kind=build&channel=stable&publisher=vendor");
  assert.equal(await page.eval("document.querySelector('.search details').open"), true);
  await looks("search");
});

await step("hostile names are shown escaped, and nothing in them is HTML", async () => {
  await page.view(`#/leaf/${settings.hostile}`);
  const text = await page.text();
  assert.ok(text.includes("\\u{202e}"), text.slice(0, 2_000));
  assert.ok(!/[\u202e\u200b]/.test(text));
  assert.ok(text.includes("<img src=x onerror=alert(1)>"));
  assert.equal(await page.eval("document.querySelectorAll('main img').length"), 0);
  await looks("hostile");
});

await step("a package: channels, gaps, withdrawals, checks by others", async () => {
  await page.view(`#/package?purl=${encodeURIComponent(settings.package)}`);
  await has("stable");
  await has("beta");
  await has("1 gap");
  await has("1 withdrawn");
  await has("checked by rebuilders");
  assert.equal(await page.eval("document.querySelectorAll('.number.gap').length"), 1);
  assert.equal(await page.eval("document.querySelectorAll('.number.taken-back').length"), 1);
  await looks("package");
});

await step("a release: statement, what others say, the way to the root, the proof file", async () => {
  await page.view(`#/leaf/${settings.release}`);
  await has("proven in the tree");
  await has("stated by vendor");
  await has("PASSED");
  await has("was built by");
  const steps = await page.eval("document.querySelectorAll('.path > li').length");
  assert.ok(steps > 5, `${steps} steps`);
  assert.equal(await page.eval("document.querySelector('.node.root code').title"), await page.eval("[...document.querySelectorAll('dt')].find((dt) => dt.textContent === 'Root').nextElementSibling.textContent"));
  await looks("release");
  await page.eval("document.querySelectorAll('details').forEach((details) => (details.open = true))");
  await looks("release-raw");
  await click("Download the proof file");
  const file = join(page.downloads, `leaf-${settings.release}.tlog-proof`);
  for (let tries = 0; !existsSync(file) && tries < 100; tries++) await sleep(50);
  writeFileSync(settings.proofOut, readFileSync(file));
});

await step("a review: its result, and which secret findings were shown to whom", async () => {
  await page.view(`#/leaf/${settings.release}`);
  await has("rebuilders reviewed scanner.bin (source and build)");
  await has("3 secret findings, of which 2 were shown");
  await page.view(`#/leaf/${settings.review}`);
  await has("passed with findings");
  await has("Secret findings");
  await has("The updater follows symbolic links:");
  await has("shown to customer-17");
  await has("not shown");
  assert.ok(!(await page.eval("document.body.textContent")).includes("debug port"), "what one party was shown stays its own");
  assert.equal(await page.eval("document.querySelectorAll('.findings > li').length"), 3);
  await looks("review");
  await page.view(`#/leaf/${settings.disclosure}`);
  await has("Its commitment is one of a review by rebuilders");
  await looks("disclosure");
  await page.view(`#/package?purl=${encodeURIComponent(settings.package)}`);
  await has("reviewed by rebuilders");
});

await step("a withdrawn release says so first", async () => {
  await page.view(`#/leaf/${settings.withdrawn}`);
  await has("Withdrawn: do not use it");
  await has("crashes on start");
  await looks("withdrawn");
});

async function verify(selector, chosen, expected) {
  await page.choose(selector, chosen);
  await page.until(`a verdict on ${chosen}`, "document.querySelector('.verdicts .notice')");
  await has(expected);
}

await step("verify a file: the verdict is that of the program", async () => {
  await page.view("#/verify");
  await looks("verify");
  await verify("#file", [settings.good], "Verified");
  await has("pkg:generic/example/scanner@");
  await looks("verified");
  await page.view("#/verify?2");
  await verify("#file", [settings.bad], "Not in this log");
  await page.view("#/verify?3");
  await verify("#file", [settings.bad, settings.proof], "artifact-mismatch");
  await looks("refused");
  await page.view("#/verify?b");
  await page.choose("#file", [settings.bundle]);
  await page.until("the entries of the bundle", "document.querySelectorAll('.verdicts .row').length === 3");
  await has("3 entries, all proven from tiles");
  await looks("bundle");
  await page.view("#/verify?c");
  await verify("#file", [settings.good, settings.bundle], "Judged by three.tlog-bundle.");
  await page.view("#/verify?4");
  await verify("#file", [settings.takenBack], "withdrawn");
  await page.view(`#/leaf/${settings.release}`);
  await verify("#file-of-release", [settings.good], "Verified");
  await page.view(`#/leaf/${settings.release}?2`);
  await verify("#file-of-release", [settings.bad], "artifact-mismatch");
});

await step("keyboard: the skip link, the views, a search", async () => {
  await page.view("#/trust");
  await page.view("#/");
  await page.eval("document.activeElement.blur(), document.body.focus(), scrollTo(0, 0)");
  const focused = () => page.eval("document.activeElement.textContent.trim() || document.activeElement.id");
  const stops = [];
  await page.eval("(() => { const first = document.querySelector('.skip'); first.focus(); })()");
  for (let at = 0; at < 7; at++) {
    stops.push(await focused());
    const ring = await page.eval("getComputedStyle(document.activeElement).outlineStyle");
    assert.notEqual(ring, "none", `the focus is seen on ${stops.at(-1)}`);
    await page.press("Tab");
  }
  assert.deepEqual(stops.slice(0, 1).concat(stops.slice(2, 6)), ["Skip to the content", "Overview", "Releases", "Verify a file", "Trust"]);
  await page.eval("document.querySelector('nav a[data-view=releases]').focus()");
  await page.press("Enter");
  await page.until("the releases", "document.querySelector('#search')");
  await page.settled("the releases");
  assert.equal(await page.eval("document.activeElement.id"), "main", "the focus moves to the view");
  assert.equal(await page.eval("document.querySelector('nav a[aria-current=page]').textContent"), "Releases");
  await page.eval("document.getElementById('search').focus()");
  await page.send("Input.insertText", { text: "scanner" });
  await page.press("Enter");
  await page.until("the search", "location.hash.includes('name=scanner')");
  assert.ok(await page.eval("document.querySelector('[role=status][aria-live=polite]') !== null"));
});

await step("ten thousand rows don't freeze the page", async () => {
  await page.eval(`(() => {
    window.longest = 0;
    let last = performance.now();
    const tick = (now) => { window.longest = Math.max(window.longest, now - last); last = now; window.ticking = requestAnimationFrame(tick); };
    window.ticking = requestAnimationFrame(tick);
  })()`);
  const began = Date.now();
  await page.eval("location.hash = '#/releases?kind=detection-rules&rows=10000'");
  await page.until("ten thousand rows", "document.querySelectorAll('.rows > .row').length === 10000", 240_000);
  await page.until("all are proven", "document.body.innerText.includes('10,000 entries, all proven from tiles')");
  const longest = await page.eval("cancelAnimationFrame(window.ticking), window.longest");
  console.log(`        10,000 rows fetched, proven and shown in ${Date.now() - began} ms; longest time between two frames: ${Math.round(longest)} ms`);
  // 0.3 s on a quiet machine; a busy one takes the browser's processor away for longer. All at once would take minutes.
  assert.ok(longest < 5_000, `${longest} ms without a frame`);
  const scroll = await page.eval("(async () => { const began = performance.now(); scrollTo(0, document.body.scrollHeight); await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame); return performance.now() - began; })()");
  assert.ok(scroll < 5_000, `${scroll} ms to scroll to the end`);
  if (shots) await page.screenshot(join(shots, "ten-thousand-wide-light.png"), false);
});

await step("a row that is not in the tree is never shown as if it were", async () => {
  front.lie = (path, body) => {
    if (!path.startsWith("/releases")) return undefined;
    const answer = JSON.parse(body);
    for (const row of answer.releases.slice(0, 1)) {
      row.entry = Buffer.from(Buffer.from(row.entry, "base64").toString().replace(/"sig":"...../, '"sig":"zzzzz')).toString("base64");
    }
    return Buffer.from(JSON.stringify(answer));
  };
  await page.view("#/releases?name=scanner");
  assert.equal(await rows(".wrong"), 1);
  await has("not in the tree");
  assert.equal(await page.eval("document.querySelector('.row.wrong a')"), null);
  await looks("lie");
  front.lie = null;
});

await step("a log of plain files, as export writes it, without any search", async () => {
  const plain = await files(settings.exported);
  allowed = [plain.url];
  await page.go(`${plain.url}/`);
  await page.settled("the overview");
  assert.match(await state(), /leaves, verified$/);
  await page.view("#/releases?name=scanner&channel=stable&rows=20");
  assert.ok((await rows()) > 3);
  await has("This log has no search of its own");
  await page.view(`#/leaf/${settings.release}`);
  await has("proven in the tree");
  await looks("plain-files");
  plain.close();
});

await step("another log, with the trust that its user brings", async () => {
  const other = await files(settings.other, true);
  allowed = [front.url, other.url];
  await page.go(`${front.url}/?log=${encodeURIComponent(other.url)}`);
  await page.settled("the overview");
  assert.match(await state(), /not verified$/);
  await has("Another log:");
  assert.equal(await rows(), settings.otherSize);
  await page.view("#/leaf/0");
  await has("nobody verified its head");
  await page.view("#/trust");
  await looks("trust-nobody");
  await page.choose("#trust-files", [settings.otherPolicy]);
  await page.until("the head is verified", "document.getElementById('state').textContent.endsWith(', verified')");
  await page.view("#/trust");
  await has("You gave this on");
  await page.view("#/");
  await has("Verified with the keys that you gave");
  await looks("another-log");
  other.close();
});

allowed = [front.url];

await step("trust: what the log says of itself", async () => {
  await page.go(`${front.url}/#/trust`);
  await page.settled("trust");
  await has("The log says this of itself");
  await has("rebuilders");
  await looks("trust");
});

await step("a fork is told in red, with evidence that convinces the program", async () => {
  await page.go(`${front.url}/`);
  await page.settled("the overview");
  front.target = settings.forked;
  await page.go(`${front.url}/?forked`);
  await page.until("the fork", "document.querySelector('#alarm .notice.bad')");
  await page.settled("the overview");
  await has("This log signed two histories");
  assert.match(await state(), /forked/);
  await looks("fork");
  await click("Download the evidence");
  let found;
  for (let tries = 0; !found && tries < 100; tries++) {
    found = existsSync(page.downloads) && readdirSync(page.downloads).find((name) => name.endsWith(".tlog-fork"));
    await sleep(50);
  }
  writeFileSync(settings.evidenceOut, readFileSync(join(page.downloads, found)));
  // It is not forgotten, and the head that was seen first stays.
  await page.go(`${front.url}/?again`);
  await page.until("the fork", "document.querySelector('#alarm .notice.bad')");
  front.target = settings.log;
  await page.go(`${front.url}/?back`);
  await page.settled("the overview");
  assert.match(await state(), /verified$/);
});

await step("an older head is told, and a log that does not answer", async () => {
  front.lie = (path) => (path === "/checkpoint" ? readFileSync(settings.olderHead) : undefined);
  await page.go(`${front.url}/?older`);
  await page.settled("the overview");
  await has("The log shows an older head than before");
  await looks("older");
  front.lie = null;
  await page.go(`${front.url}/?newest`);
  await page.settled("the overview");
  await page.view("#/leaf/999999999");
  await has("There is no such leaf");
  await looks("no-leaf");
  front.target = "http://127.0.0.1:1";
  await page.eval("document.dispatchEvent(new Event('visibilitychange'))");
  await page.until("the silence", "document.body.innerText.includes('The log does not answer')");
  await looks("silence");
  await page.view("#/leaf/4711");
  await has("Try again");
  await looks("error");
  page.errors.length = 0;
});

allowed = [settings.empty];

await step("an empty log", async () => {
  await page.go(`${settings.empty}/`);
  await page.settled("the overview");
  assert.match(await state(), /^0 leaves, verified$/);
  await has("The tree is empty");
  await looks("empty");
  await page.view("#/releases");
  await has("The log is empty");
  await looks("empty-releases");
  await page.view("#/verify");
  await verify("#file", [settings.good], "Not in this log");
  await looks("empty-verify");
});

await step("the example for browsers judges a file", async () => {
  const site = await files(settings.example);
  allowed = [site.url];
  const answers = { "scanner.sh": "scanner.sh: pkg:generic/example/scanner@2.0 by vendor", "tampered.sh": "tampered.sh: artifact-mismatch" };
  await page.go(`${site.url}/`);
  await page.until("the module is there", "!document.querySelector('input').disabled");
  for (const [name, answer] of Object.entries(answers)) {
    const path = join(settings.example, name);
    await page.choose("input", [path, `${path}.tlog-proof`]);
    await page.until(answer, `document.querySelector("[role=status]").textContent.startsWith(${JSON.stringify(answer)})`);
  }
  site.close();
});

await browser.close();
front.close();
console.log(failed === 0 ? "the walk is done" : `${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
