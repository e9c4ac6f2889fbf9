// Search, and pages of proven rows.

import { button, el, show } from "./dom.js";
import { gather, proofWords, prove, readEntry } from "./proofs.js";
import { append, marksOf, rowElement } from "./rows.js";
import * as words from "./words.js";

const FIELDS = [
  ["name", "Name begins with", "text"],
  ["package", "Package (purl)", "text"],
  ["version", "Version", "text"],
  ["publisher", "Publisher", "text"],
  ["digest", "SHA-256", "text"],
  ["kind", "Kind", "kind"],
  ["channel", "Channel", "text"],
];
const AT_ONCE = [20, 100, 1_000, 10_000];
/** Rows that are fetched and proven together. */
const PAGE = 100;

/** What somebody typed into the one field, as a filter. */
export function guess(text) {
  const word = text.trim();
  if (/^(sha256:)?[0-9a-f]{64}$/i.test(word)) return { digest: word.toLowerCase() };
  if (/^pkg:/i.test(word)) {
    const version = /^([^?#]*[^/?#@])@([^/?#]+)(.*)$/.exec(word);
    return version ? { package: version[1] + version[3].replace(/#.*$/, ""), version: version[2] } : { package: word };
  }
  return word ? { name: word } : {};
}

export async function releases(session, main, query) {
  const filters = Object.fromEntries(
    FIELDS.map(([field]) => [field, query.get(field) ?? ""]).filter(([, value]) => value),
  );
  const wanted = AT_ONCE.includes(Number(query.get("rows"))) ? Number(query.get("rows")) : 20;
  const list = el("ol", { class: "rows", "aria-label": "Entries, newest first" });
  const status = el("p", { role: "status", "aria-live": "polite", class: "muted" }, "Searching");
  const more = el("div", { class: "more" });
  show(main, el("h1", {}, "Releases"), form(session, filters, wanted), status, list, more);
  const alive = () => list.isConnected;
  const readIt = (entry) => readEntry(session, entry);
  const all = [];
  let next = null;
  let begun = false;
  let stopped = false;

  async function load(count) {
    stopped = false;
    show(
      more,
      button("Stop", () => (stopped = true), "quiet"),
    );
    list.setAttribute("aria-busy", "true");
    const target = all.length + count;
    try {
      while (alive() && !stopped && all.length < target && !(begun && next === null)) {
        const page = await session.log.page(session.tree, filters, next, Math.min(PAGE, target - all.length), readIt);
        begun = true;
        await prove(session, page.rows);
        next = page.next;
        all.push(...page.rows);
        const others = gather(all);
        await append(
          list,
          page.rows.map((row) => () => rowElement(session, row, marksOf(row, others))),
          alive,
        );
        if (!alive()) return;
        // Whoever listens to the page is not told each hundred.
        if (all.length % 1_000 === 0) show(status, summary());
      }
    } finally {
      list.removeAttribute("aria-busy");
    }
    show(status, summary());
    show(
      more,
      next !== null && button(all.length === 0 ? "Look further back" : "Show more", () => guarded(count), "strong"),
      next === null && begun && all.length > 0 && el("p", { class: "muted" }, "That is all."),
    );
  }

  function summary() {
    const far = next === null ? "all of them" : `so far back to leaf ${words.number(next)}`;
    const looked =
      session.log.searchable === false
        ? ` This log has no search of its own, so the page reads the entries themselves: ${far}.`
        : "";
    if (all.length === 0 && next === null)
      return session.head.size === 0 ? "The log is empty." : "Nothing in this log matches.";
    if (all.length === 0) return `Nothing yet.${looked}`;
    return `${proofWords(session, all)}.${looked}`;
  }

  async function guarded(count) {
    try {
      await load(count);
    } catch (error) {
      show(status, `The search stopped: ${error.message}`);
      show(
        more,
        button("Try again", () => guarded(count), "strong"),
      );
    }
  }
  await guarded(wanted);
}

function form(session, filters, rows) {
  const inputs = new Map();
  const simple = Object.keys(filters).length === 0 || (Object.keys(filters).length === 1 && filters.name);
  const field = ([name, label, type]) => {
    // What is in the one field is not in its own as well.
    const value = simple && name === "name" ? "" : (filters[name] ?? "");
    const id = `field-${name}`;
    const input =
      type === "kind"
        ? el(
            "select",
            { id },
            el("option", { value: "" }, "any"),
            words.KIND_NAMES.map((kind) =>
              el("option", { value: kind, selected: filters.kind === kind }, words.kind(kind)),
            ),
          )
        : el("input", {
            id,
            type: "text",
            value,
            autocomplete: "off",
            spellcheck: "false",
            autocapitalize: "off",
          });
    inputs.set(name, input);
    return el("div", { class: "field" }, el("label", { for: id }, label), input);
  };
  const one = el("input", {
    id: "search",
    type: "search",
    value: simple ? (filters.name ?? "") : "",
    placeholder: "Name, purl or SHA-256",
    autocomplete: "off",
    spellcheck: "false",
    autocapitalize: "off",
  });
  const count = el(
    "select",
    { id: "rows" },
    AT_ONCE.map((n) => el("option", { value: n, selected: n === rows }, words.number(n))),
  );
  const submit = (event) => {
    event.preventDefault();
    const query = new URLSearchParams();
    for (const [name, input] of inputs) if (input.value.trim()) query.set(name, input.value.trim());
    for (const [name, value] of Object.entries(guess(one.value))) query.set(name, value);
    if (Number(count.value) !== AT_ONCE[0]) query.set("rows", count.value);
    location.hash = `#/releases${query.size > 0 ? `?${query}` : ""}`;
  };
  const details = el(
    "details",
    { open: !simple },
    el("summary", {}, "Search by several fields"),
    el("div", { class: "fields" }, FIELDS.map(field)),
  );
  return el(
    "form",
    { class: "search", role: "search", onsubmit: submit },
    el(
      "div",
      { class: "search-line" },
      el("label", { for: "search", class: "hidden" }, "Name, package URL or SHA-256"),
      one,
      el("button", { type: "submit", class: "strong" }, "Search"),
    ),
    details,
    el(
      "p",
      { class: "inline" },
      el("label", { for: "rows" }, "Rows at once"),
      count,
      Object.keys(filters).length > 0 && el("a", { href: "#/releases" }, "Clear"),
    ),
  );
}
