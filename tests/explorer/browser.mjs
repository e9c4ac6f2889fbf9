// A headless Chromium, driven over its pipe by the DevTools protocol: nothing else is needed.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PATIENCE = 60_000;

export class Browser {
  #child;
  #dir = mkdtempSync(join(tmpdir(), "explorer-"));
  #next = 1;
  #waiting = new Map();
  #listeners = new Set();
  #rest = "";

  static async start(program) {
    const browser = new Browser();
    const flags = [
      "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
      "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--lang=en-US", "--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe",
      `--user-data-dir=${browser.#dir}`, "about:blank",
    ];
    browser.#child = spawn(program, flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], env: { ...process.env, LANGUAGE: "en-US", TZ: "UTC" } });
    browser.#child.on("exit", () => {
      for (const { reject } of browser.#waiting.values()) reject(new Error("the browser ended"));
    });
    browser.#child.stdio[4].setEncoding("utf8").on("data", (text) => browser.#receive(text));
    const { browserContextId } = await browser.send("Target.createBrowserContext");
    const { targetId } = await browser.send("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true });
    const downloads = join(browser.#dir, "downloads");
    await browser.send("Browser.setDownloadBehavior", { behavior: "allow", browserContextId, downloadPath: downloads });
    return [browser, await Page.open(browser, sessionId, downloads)];
  }

  #receive(text) {
    const parts = (this.#rest + text).split("\0");
    this.#rest = parts.pop();
    for (const part of parts) {
      const message = JSON.parse(part);
      const waiting = this.#waiting.get(message.id);
      if (waiting) {
        this.#waiting.delete(message.id);
        if (message.error) waiting.reject(new Error(`${waiting.method}: ${message.error.message}`));
        else waiting.resolve(message.result);
      } else {
        for (const listener of this.#listeners) listener(message);
      }
    }
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, method });
      this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  listen(listener) {
    this.#listeners.add(listener);
  }

  async close() {
    await Promise.race([this.send("Browser.close").catch(() => {}), sleep(3_000)]);
    this.#child.kill("SIGKILL");
    await sleep(100);
    rmSync(this.#dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export class Page {
  /** Errors of the page and of its policy, and addresses that it asked. */
  errors = [];
  asked = [];

  static async open(browser, session, downloads) {
    const page = new Page();
    Object.assign(page, { browser, session, downloads });
    browser.listen(({ sessionId, method, params }) => {
      if (sessionId !== session) return;
      if (method === "Runtime.exceptionThrown") page.errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
      if (method === "Log.entryAdded" && params.entry.source === "security") page.errors.push(params.entry.text);
      if (method === "Runtime.consoleAPICalled" && params.type === "error") page.errors.push(params.args.map((arg) => arg.value ?? arg.description).join(" "));
      if (method === "Network.requestWillBeSent") page.asked.push(params.request.url);
    });
    for (const domain of ["Page", "Runtime", "Log", "Network", "DOM"]) await page.send(`${domain}.enable`);
    await page.send("Emulation.setTimezoneOverride", { timezoneId: "UTC" });
    return page;
  }

  send(method, params) {
    return this.browser.send(method, params, this.session);
  }

  /** The value of an expression, awaited. */
  async eval(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    return result.value;
  }

  /** Waits until an expression is true, and returns it. */
  async until(what, expression, patience = PATIENCE) {
    const end = Date.now() + patience;
    for (;;) {
      const value = await this.eval(expression).catch(() => undefined);
      if (value) return value;
      if (Date.now() > end) throw new Error(`${what}: not within ${patience / 1000} s. The page says: ${(await this.text()).slice(0, 2_000)}`);
      await sleep(50);
    }
  }

  text() {
    return this.eval("document.body.innerText");
  }

  async go(url) {
    await this.send("Page.navigate", { url });
    await this.until(`${url} is loaded`, "document.readyState === 'complete'");
  }

  /** Opens a view, and waits until it is whole. */
  async view(hash) {
    await this.eval(`location.hash = ${JSON.stringify(hash)}`);
    await sleep(50);
    await this.settled(hash);
  }

  settled(what) {
    return this.until(`${what} is whole`, "document.querySelector('main h1') && !document.querySelector('[aria-busy]') && !/(^|\\n)(Loading|Looking)(\\n|$)/.test(document.body.innerText)");
  }

  async size(width, height, dark) {
    await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }, { name: "prefers-reduced-motion", value: "reduce" }] });
    await this.#metrics(width, height);
  }

  /** A picture of the whole page, or of what is seen of it. */
  async screenshot(file, whole = true) {
    const { width, height } = await this.eval("({ width: innerWidth, height: document.documentElement.scrollHeight })");
    if (whole) await this.#metrics(width, Math.min(height, 6_000));
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    writeFileSync(file, Buffer.from(data, "base64"));
  }

  async #metrics(width, height) {
    await this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
    await sleep(150);
  }

  /** Gives files to a file input. */
  async choose(selector, files) {
    const { root } = await this.send("DOM.getDocument");
    const { nodeId } = await this.send("DOM.querySelector", { nodeId: root.nodeId, selector });
    if (!nodeId) throw new Error(`no ${selector}`);
    await this.send("DOM.setFileInputFiles", { nodeId, files });
  }

  async press(key, modifiers = 0) {
    const codes = { Tab: 9, Enter: 13 };
    for (const type of ["keyDown", "keyUp"]) {
      await this.send("Input.dispatchKeyEvent", { type, key, code: key, windowsVirtualKeyCode: codes[key], modifiers, text: key === "Enter" && type === "keyDown" ? "\r" : undefined });
    }
  }
}
