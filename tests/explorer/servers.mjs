// Servers for the walk: a proxy that leads to one log or another, or lies, and plain files.

import { readFileSync, statSync } from "node:fs";
import { createServer, request } from "node:http";
import { extname, join, normalize } from "node:path";

const listen = (server) => new Promise((done) => server.listen(0, "127.0.0.1", () => done(`http://127.0.0.1:${server.address().port}`)));

/** A proxy. `target` may be changed; `lie` may change an answer: it gets path and body, and returns a body or nothing. */
export async function proxy(target) {
  const state = { target, lie: null };
  const server = createServer((asked, answer) => {
    const headers = { ...asked.headers };
    if (state.lie) delete headers["accept-encoding"];
    const sent = request(new URL(asked.url, state.target), { method: asked.method, headers }, (got) => {
      const parts = [];
      got.on("data", (part) => parts.push(part));
      got.on("end", () => {
        const body = Buffer.concat(parts);
        const other = state.lie?.(asked.url, body) ?? body;
        answer.writeHead(got.statusCode, { ...got.headers, "content-length": other.length });
        answer.end(other);
      });
    });
    sent.on("error", () => answer.destroy());
    asked.pipe(sent);
  });
  state.url = await listen(server);
  state.close = () => server.close();
  return state;
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".wasm": "application/wasm" };

/** Plain files, as any web server has them; `cors` lets pages of other sites read them. */
export async function files(dir, cors = false) {
  const server = createServer((asked, answer) => {
    const path = join(dir, normalize(decodeURIComponent(new URL(asked.url, "http://x").pathname)));
    try {
      const file = statSync(path).isDirectory() ? join(path, "index.html") : path;
      const body = readFileSync(file);
      answer.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", ...(cors && { "access-control-allow-origin": "*" }) });
      answer.end(body);
    } catch {
      answer.writeHead(404, cors ? { "access-control-allow-origin": "*" } : {}).end();
    }
  });
  return { url: await listen(server), close: () => server.close() };
}
