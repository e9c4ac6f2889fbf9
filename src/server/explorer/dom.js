// Elements, made without HTML: text from outside is only ever text.

// What can't be seen, or changes how its neighbours are shown: the same characters that the program escapes.
const HIDDEN =
  /[\p{C}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\u{e0100}-\u{e01ef}]|(?! )\p{Zs}/gu;

/** Text from elsewhere, safe to show: hidden characters are escaped, as `\u{202e}`. */
export function shown(text) {
  return String(text).replace(HIDDEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** The same for text of several lines. */
export function shownLines(text) {
  return String(text)
    .split(/\r?\n/)
    .map((line) => shown(line.replace(/\t/g, "  ")))
    .join("\n");
}

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : shown(value));
  }
  add(element, children);
  return element;
}

/** Appends elements and texts. Texts are made safe. */
export function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    element.append(child instanceof Node ? child : document.createTextNode(shown(child)));
  }
  return element;
}

/** An element of HTML. Attributes that begin with `on` are listeners. */
export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Replaces what is in an element. */
export function show(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

/** A hash or another long value: whole for copying, with places to break a line. */
export function code(text, title) {
  return el("code", { class: "hash", title }, text);
}

/** A hash, cut short, with the whole in the title. */
export function brief(text, letters = 12) {
  const whole = shown(text);
  return whole.length <= letters + 1 ? code(whole) : el("code", { title: whole }, `${whole.slice(0, letters)}…`);
}

/** A list of labels and values. Pairs without a value are left out. */
export function facts(pairs) {
  const list = el("dl", { class: "facts" });
  for (const [label, ...values] of pairs) {
    const some = values
      .flat(Infinity)
      .filter((value) => value !== undefined && value !== null && value !== "" && value !== false);
    if (some.length > 0) list.append(el("dt", {}, label), el("dd", {}, some));
  }
  return list;
}

/** A mark with a word in it: `good`, `bad`, `warn` or `plain`. */
export function badge(kind, text, title) {
  const sign = { good: "✓", bad: "✗", warn: "!" }[kind];
  return el("span", { class: `badge ${kind}`, title }, sign && el("span", { "aria-hidden": "true" }, `${sign} `), text);
}

/** A message of the program or the module as a sentence of its own. */
export function sentence(message) {
  // Addresses and names stay as they are.
  const whole = /^[a-z]+[ ,]/.test(message) ? `${message.charAt(0).toUpperCase()}${message.slice(1)}` : message;
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

/** A box that says one thing. */
export function notice(kind, title, ...children) {
  return el("div", { class: `notice ${kind}` }, el("p", { class: "notice-title" }, title), children);
}

/** Offers bytes or text as a file. */
export function download(name, content, type = "application/octet-stream") {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = el("a", { href: url, download: name.replace(/[^\w.@+-]+/g, "_") });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A button. */
export function button(text, action, kind = "") {
  return el("button", { type: "button", class: kind, onclick: action }, text);
}

/** Lets the browser answer its user, and draw if it wants to, before work goes on. */
export function pause() {
  return new Promise((done) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      done();
    };
    port2.postMessage(null);
  });
}

/** Lets the browser draw before work goes on. */
export function breathe() {
  return new Promise((done) => {
    // A page in the background draws nothing.
    if (document.hidden) setTimeout(done, 0);
    else requestAnimationFrame(() => setTimeout(done, 0));
  });
}
