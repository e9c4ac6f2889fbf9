// Rows of statements, as lists show them.

import { badge, breathe, brief, el } from "./dom.js";
import { doubt, isVerified, withdrawalsAmong } from "./proofs.js";
import * as words from "./words.js";

/** Rows that are drawn before the browser may answer its user again. */
const AT_ONCE = 50;
/** Rows from which on those out of sight are not laid out. */
const LONG = 200;

/** The name of what a statement is about. */
export function title(read) {
  if (read.purl) {
    const { namespace, name } = words.packageName(read.purl);
    return { namespace, name, version: read.version ?? "" };
  }
  return {
    namespace: "",
    name: read.artifacts?.[0]?.name || (read.what === "opaque" ? "Bytes without a statement" : words.kind(read.what)),
    version: "",
  };
}

/** The kind of a statement, as search has it. */
export const kindOf = (read) => (read.what === "release" ? read.kind : read.what);

/** Whether the head over a proof was verified. */
function proofBadge(session, row) {
  if (row.fault) return badge("bad", "not in the tree", row.fault);
  if (!row.proof) return badge("plain", "proving…");
  const tree = () => words.count(session.head.size, "leaf", "leaves");
  if (isVerified(session)) return badge("good", "proven", `In the tree of ${tree()} that was verified here`);
  return badge("warn", "in the tree", `It is in the tree, but ${doubt(session)}`);
}

function signerBadge(session, read) {
  if (read.what === "opaque") return null;
  if (read.publishers?.length) return el("span", { class: "publisher" }, words.list(read.publishers));
  if (!session.trust) return el("span", { class: "muted" }, "publisher not checked");
  return badge("warn", "no known publisher", read.problem?.message);
}

/** The result of a check, and who came to it, if the statement names anybody. */
function saidBy(read) {
  const by = read.verifier ?? read.reviewer ?? read.author;
  return by ? `${words.result(read.result)} by ${by}` : words.result(read.result);
}

/** One row of a list. `marks` are badges beside the name. */
export function rowElement(session, row, marks = []) {
  const { read } = row;
  const { namespace, name, version } = title(read);
  const item = el("li", { class: row.fault ? "row wrong" : "row", "data-index": row.index });
  // What is not in the tree is not shown as if it were.
  if (row.fault) {
    item.append(
      el(
        "div",
        { class: "row-main" },
        el("strong", {}, `Leaf ${words.number(row.index)}`),
        " ",
        proofBadge(session, row),
      ),
      el("p", { class: "row-facts" }, "The log shows an entry here that its signed tree does not have."),
    );
    return item;
  }
  const artifacts = read.artifacts ?? [];
  const first = artifacts[0];
  // Several rows have one name: whoever hears only the links is told more.
  const label = [[namespace, name].filter(Boolean).join("/"), version, words.kind(kindOf(read))].filter(Boolean).join(" ");
  item.append(
    el(
      "div",
      { class: "row-main" },
      el(
        "a",
        { href: `#/leaf/${row.index}`, class: "row-name", "aria-label": label },
        namespace && el("span", { class: "muted" }, `${namespace}/`),
        name,
      ),
      version && el("span", { class: "version" }, version),
      el("span", { class: "kind" }, words.kind(kindOf(read))),
      marks,
    ),
    el(
      "p",
      { class: "row-facts" },
      signerBadge(session, read),
      read.channel && el("span", {}, `${read.channel}, sequence ${read.sequence}`),
      read.reason && el("span", {}, `withdraws leaf ${words.number(read.withdraws)}: ${read.reason}`),
      read.result && el("span", {}, saidBy(read)),
      read.what === "disclosure" && el("span", {}, `a finding of leaf ${words.number(read.review)}, shown to ${read.to ?? "everybody"}`),
      read.builder && el("span", {}, `built by ${read.builder}`),
      first &&
        el(
          "span",
          {},
          first.sha256 ? brief(first.sha256) : first.name,
          artifacts.length > 1 && ` and ${words.number(artifacts.length - 1)} more`,
        ),
    ),
    el(
      "div",
      { class: "row-state" },
      proofBadge(session, row),
      el("span", { class: "row-leaf" }, `leaf ${words.number(row.index)}`),
    ),
  );
  return item;
}

/** Appends rows to a list in steps, so that ten thousand of them don't hold the page up. */
export async function append(list, items, alive = () => true) {
  list.classList.toggle("long", list.children.length + items.length > LONG);
  for (let at = 0; at < items.length && alive(); at += AT_ONCE) {
    list.append(...items.slice(at, at + AT_ONCE).map((item) => item()));
    if (at + AT_ONCE < items.length) await breathe();
  }
}

/** Marks that other statements put on a release. `withdrawn` is also the log's word, until its leaf was looked at. */
export function marksOf(row, others) {
  const marks = [];
  const { read } = row;
  if (read.what !== "release") return marks;
  const withdrawn = withdrawalsAmong(others, read).length > 0 || row.said?.withdrawn?.length > 0;
  if (withdrawn) marks.push(badge("bad", "withdrawn"));
  const summaries = (read.artifacts ?? []).flatMap((artifact) => others.summaries.get(artifact.sha256) ?? []);
  const passed = new Set(summaries.filter((one) => one.result === "PASSED").flatMap((one) => one.publishers ?? []));
  const failed = new Set(summaries.filter((one) => one.result === "FAILED").flatMap((one) => one.publishers ?? []));
  if (passed.size > 0)
    marks.push(badge("good", `checked by ${words.list([...passed])}`, "Verification summaries that say PASSED"));
  if (failed.size > 0)
    marks.push(badge("bad", `failed at ${words.list([...failed])}`, "Verification summaries that say FAILED"));
  const reviews = (read.artifacts ?? []).flatMap((artifact) => others.reviews.get(artifact.sha256) ?? []);
  const reviewers = (...results) => [
    ...new Set(reviews.filter((one) => results.includes(one.result)).flatMap((one) => one.publishers ?? [])),
  ];
  const [well, badly] = [reviewers("PASSED", "PASSED_WITH_FINDINGS"), reviewers("FAILED")];
  if (well.length > 0) marks.push(badge("good", `reviewed by ${words.list(well)}`, "Reviews that speak for it"));
  if (badly.length > 0) marks.push(badge("bad", `failed a review by ${words.list(badly)}`, "Reviews that speak against it"));
  const built = (read.artifacts ?? []).flatMap((artifact) => others.provenance.get(artifact.sha256) ?? []);
  if (built.length > 0)
    marks.push(badge("plain", "provenance", words.list([...new Set(built.map((one) => one.builder ?? "?"))])));
  return marks;
}

/**
 * The gaps in the sequence numbers of releases, by publisher and channel, as the monitor finds them: a number is missing
 * where numbers had been dense. Numbers that are times have no gaps.
 */
export function tracks(rows) {
  const found = new Map();
  for (const { read, index, proof } of rows) {
    if (read.what !== "release" || !proof) continue;
    for (const publisher of read.publishers ?? []) {
      const key = JSON.stringify([publisher, read.package, read.channel]);
      if (!found.has(key))
        found.set(key, { publisher, package: read.package, channel: read.channel, releases: new Map() });
      found.get(key).releases.set(read.sequence, { read, index });
    }
  }
  for (const track of found.values()) {
    track.numbers = [...track.releases.keys()].sort((a, b) => a - b);
    track.gaps = gaps(track.numbers);
  }
  return [...found.values()].sort(
    (a, b) => a.channel.localeCompare(b.channel) || a.publisher.localeCompare(b.publisher),
  );
}

const TIMES_FROM = 10_000_000;

/** Steps that leave numbers out, as `[from, to]`: src/release/gaps.rs has the rule. */
export function gaps(numbers) {
  const steps = [];
  const found = [];
  for (let at = 1; at < numbers.length; at++) {
    const [from, to] = [numbers[at - 1], numbers[at]];
    const dense = steps.length === 0 ? from <= 1 : 2 * steps.filter((one) => one).length >= steps.length;
    if (dense && to < TIMES_FROM && to - from > 1) found.push([from, to]);
    steps.push(to - from === 1);
    if (steps.length > 8) steps.shift();
  }
  return found;
}
