// One entry: what it states, who stands behind it, and the proof.

import { badge, button, code, download, el, facts, notice, show, shownLines } from "./dom.js";
import * as draw from "./draw.js";
import { about, doubt, isVerified, proofFile, proven, withdrawalsAmong } from "./proofs.js";
import { disclosureOf, findings, resultBadge, reviewItems } from "./review.js";
import { kindOf, rowElement, title } from "./rows.js";
import { dropZone } from "./verify.js";
import * as words from "./words.js";

export async function leaf(session, main, index) {
  const { head } = session;
  if (!Number.isSafeInteger(index) || index < 0 || index >= head.size) {
    return show(
      main,
      el("h1", {}, "There is no such leaf"),
      el("p", {}, `The tree has ${words.count(head.size, "leaf", "leaves")}, counted from 0.`),
      el("p", {}, el("a", { href: "#/releases" }, "All entries, and search")),
    );
  }
  const row = await proven(session, index);
  const { read, proof } = row;
  const { namespace, name, version } = title(read);
  const [state, secret] = [el("div"), el("div")];
  const related = el(
    "section",
    { "aria-labelledby": "related" },
    el("h2", { id: "related" }, "What others say"),
    el("p", { class: "muted", role: "status" }, "Looking"),
  );
  show(
    main,
    el(
      "p",
      { class: "crumbs" },
      read.package
        ? el("a", { href: `#/package?purl=${encodeURIComponent(read.package)}` }, "History of this package")
        : el("a", { href: "#/releases" }, "All entries"),
    ),
    el(
      "h1",
      {},
      namespace && el("span", { class: "muted" }, `${namespace}/`),
      name,
      " ",
      version && el("span", { class: "version" }, version),
    ),
    el(
      "p",
      { class: "inline marks" },
      el("span", { class: "kind" }, words.kind(kindOf(read))),
      read.what === "review" && resultBadge(read.result),
      standing(session, read),
      inTree(session),
    ),
    state,
    statement(row),
    secret,
    read.what === "release" && check(session, row),
    related,
    el(
      "section",
      { class: "card", "aria-labelledby": "proof" },
      el("h2", { id: "proof" }, "Proof"),
      el(
        "p",
        {},
        `Leaf ${words.number(index)} of ${words.number(head.size)}. ${proof.path.length === 0 ? "" : `Hash the entry with its ${words.count(proof.path.length, "neighbour")}, one after the other, and you get the signed root.`}`,
      ),
      facts([
        ["Leaf hash", code(proof.leaf_hash)],
        ["Root", code(head.root)],
      ]),
      draw.path(proof),
      el(
        "p",
        { class: "inline" },
        button(
          "Download the proof file",
          () => download(`leaf-${index}.tlog-proof`, proofFile(session, row), "text/plain"),
          "strong",
        ),
        el(
          "span",
          { class: "muted" },
          "An endpoint checks it offline: ",
          el("code", {}, "treehead verify FILE --proof …"),
        ),
      ),
    ),
    raw(session, row),
  );
  show(secret, await disclosureOf(session, read));
  const found = await about(session, row);
  if (!related.isConnected) return;
  if (read.what === "review") show(secret, findings(read, found.others));
  const withdrawals = withdrawalsAmong(found.others, read);
  show(
    state,
    withdrawals.map((one) =>
      notice(
        "bad",
        "Withdrawn: do not use it",
        el("p", {}, `${words.list(one.publishers)}: ${one.reason}`),
        el("p", {}, el("a", { href: `#/leaf/${one.index}` }, `The withdrawal, leaf ${words.number(one.index)}`)),
      ),
    ),
  );
  show(related, el("h2", { id: "related" }, "What others say"), sayings(session, row, found));
}

function standing(session, read) {
  if (read.what === "opaque") return null;
  if (read.publishers?.length)
    return badge(
      "good",
      `stated by ${words.list(read.publishers)}`,
      "The signature was verified here, and the publisher may state this",
    );
  if (!session.trust) return badge("warn", "publisher not checked", "Nothing says which publishers to trust");
  return badge("warn", "no publisher stands behind it", read.problem?.message);
}

function inTree(session) {
  if (isVerified(session)) return badge("good", "proven in the tree");
  return badge("warn", `in the tree, but ${doubt(session)}`);
}

function statement({ read, entry }) {
  const section = el(
    "section",
    { class: "card", "aria-labelledby": "statement" },
    el("h2", { id: "statement" }, read.what === "opaque" ? "Entry" : "Statement"),
  );
  // Which findings were shown is told below.
  const lines = read.words.filter(({ label }) => read.what !== "review" || label !== "findings");
  if (lines.length > 0) section.append(facts(grouped(lines)));
  else section.append(el("p", {}, `${words.size(entry.length)} that are no statement.`));
  if (read.problem && read.problem.message)
    section.append(el("p", { class: "muted" }, `Nobody stands behind it: ${read.problem.message}`));
  if (read.withdraws !== undefined)
    section.append(
      el(
        "p",
        {},
        el("a", { href: `#/leaf/${read.withdraws}` }, `The withdrawn release, leaf ${words.number(read.withdraws)}`),
      ),
    );
  return section;
}

/** Lines with the same label, and lines that continue one, belong together. */
function grouped(lines) {
  const pairs = [];
  for (const { label, text } of lines) {
    const title = label.charAt(0).toUpperCase() + label.slice(1);
    if (pairs.length > 0 && ["", pairs.at(-1)[0]].includes(title)) pairs.at(-1).push(el("div", {}, text));
    else pairs.push([title, el("div", {}, text)]);
  }
  return pairs;
}

function check(session, row) {
  return el(
    "section",
    { class: "card", "aria-labelledby": "check" },
    el("h2", { id: "check" }, "Verify a file of this release"),
    dropZone(session, row),
  );
}

function sayings(session, row, { rows, whole, others }) {
  const { read } = row;
  const parts = [];
  if (read.what === "release") {
    const rebuilt = [];
    for (const artifact of read.artifacts ?? []) {
      for (const one of others.summaries.get(artifact.sha256) ?? []) {
        rebuilt.push(
          el(
            "li",
            {},
            badge(one.result === "PASSED" ? "good" : "bad", one.result),
            " ",
            `${words.list(one.publishers)} checked ${artifact.name ?? "it"}`,
            one.verifier && ` with ${one.verifier}`,
            one.time && `, ${words.time(one.time)}`,
            ". ",
            el("a", { href: `#/leaf/${one.index}` }, `Leaf ${words.number(one.index)}`),
          ),
        );
      }
      rebuilt.push(...reviewItems(others, artifact));
      for (const one of others.provenance.get(artifact.sha256) ?? []) {
        rebuilt.push(
          el(
            "li",
            {},
            badge("plain", "built"),
            " ",
            `${artifact.name ?? "it"} was built by ${one.builder ?? "?"}, says ${words.list(one.publishers)}. `,
            el("a", { href: `#/leaf/${one.index}` }, `Leaf ${words.number(one.index)}`),
          ),
        );
      }
    }
    parts.push(
      rebuilt.length > 0
        ? el("ul", { class: "sayings" }, rebuilt)
        : el("p", {}, "Nobody has logged a rebuild, a check, a review or a provenance of these artifacts."),
    );
  }
  if (rows.length > 0)
    parts.push(
      el(
        "ol",
        { class: "rows" },
        rows.map((one) => rowElement(session, one)),
      ),
    );
  else if (read.what !== "release") parts.push(el("p", {}, "Nothing else in this log is about these artifacts."));
  if (!whole) parts.push(el("p", { class: "muted" }, "There may be more: the page did not read every entry."));
  return parts;
}

function raw(session, row) {
  const { read, entry } = row;
  const pretty = (text) => {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  };
  // One text node each: lines and spaces are part of it.
  const block = (text, label) => {
    const pre = el("pre", { tabindex: "0", "aria-label": label });
    pre.append(document.createTextNode(shownLines(text)));
    return pre;
  };
  return el(
    "section",
    { class: "card", "aria-labelledby": "raw" },
    el("h2", { id: "raw" }, "Raw"),
    read.payload &&
      el("details", {}, el("summary", {}, "The statement, as it was signed"), block(pretty(read.payload), "Statement")),
    el(
      "details",
      {},
      el("summary", {}, read.what === "opaque" ? "The entry" : "The envelope, as the log has it"),
      block(
        read.envelope ? pretty(read.envelope) : session.th.hex(entry.subarray(0, 4_096)).replace(/(.{64})/g, "$1\n"),
        "Envelope",
      ),
    ),
    button("Download the entry", () => download(`leaf-${row.index}.json`, entry, "application/json"), "quiet"),
  );
}
