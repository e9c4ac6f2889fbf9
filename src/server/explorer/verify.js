// "Verify a file": drop it, and the verdict is that of `treehead verify`.

import { code, el, facts, notice, sentence, show } from "./dom.js";
import { proofFile, proofWords, prove, proven, readEntry, withdrawalsOf } from "./proofs.js";
import { rowElement } from "./rows.js";
import * as words from "./words.js";

/** Most releases of one file that are judged. */
const MOST_RELEASES = 5;
/** Refusals that accuse nobody. */
const UNSURE = ["could-not-tell", "no-quorum", "stale", "unknown-publisher"];

/**
 * A place to drop a file and, if there is one, its proof. `row` is the release that it should be a file of; without one, the
 * log is asked.
 */
export function dropZone(session, row) {
  const out = el("div", { class: "verdicts", "aria-live": "polite" });
  const input = el("input", { type: "file", id: row ? "file-of-release" : "file", multiple: true });
  const zone = el(
    "div",
    { class: "drop" },
    el(
      "label",
      { for: input.id },
      el("strong", {}, "Choose a file"),
      " or drop it here",
      !row && ", with its .tlog-proof or .tlog-bundle if you have it. Of a bundle alone, the page shows the entries",
    ),
    input,
    el("p", { class: "muted" }, `The file stays in this browser.${row ? "" : " The log is told only its SHA-256."}`),
  );
  const take = (files) => {
    const all = [...files];
    input.value = "";
    if (all.length > 0)
      judge(session, all, row, out).catch((error) =>
        show(out, notice("warn", "Could not tell", el("p", {}, sentence(error.message)))),
      );
  };
  input.addEventListener("change", () => take(input.files));
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer.files);
  });
  return el("div", {}, zone, out);
}

export async function verifyView(session, main) {
  show(
    main,
    el("h1", {}, "Verify a file"),
    el(
      "p",
      {},
      "Is this file what everybody else was given? The page hashes it here, asks the log for the releases that have it, proves each in the tree, and judges it as ",
      el("code", {}, "treehead verify --online"),
      " does.",
    ),
    el("section", { class: "card", "aria-labelledby": "which" }, el("h2", { id: "which" }, "File"), dropZone(session)),
    !session.trust?.publishers.length &&
      notice(
        "warn",
        "No publishers to trust",
        el("p", {}, "Without them, no file can be verified. ", el("a", { href: "#/trust" }, "Say whom you trust")),
      ),
  );
}

async function judge(session, files, row, out) {
  const isProof = (file) => /\.tlog-(proof|bundle)$/.test(file.name);
  const proofs = await Promise.all(
    files.filter(isProof).map(async (file) => ({ name: file.name, text: await file.text() })),
  );
  const artifacts = files.filter((file) => !isProof(file));
  show(out);
  const bundles = proofs.filter(isBundle);
  if (artifacts.length === 0 && bundles.length > 0) {
    for (const bundle of bundles) out.append(...(await bundleCards(session, bundle)).map((part) => el("div", {}, part)));
    return;
  }
  if (artifacts.length === 0)
    return void show(
      out,
      notice("plain", "A proof alone proves nothing here", el("p", {}, "Drop the file that it is for as well.")),
    );
  for (const file of artifacts) {
    const progress = el("progress", { max: Math.max(file.size, 1), value: 0, "aria-label": `Hashing ${file.name}` });
    const place = el("div", {}, el("p", {}, `Hashing ${file.name}, ${words.size(file.size)}`), progress);
    out.append(place);
    const digest = await hash(session, file, (done) => (progress.value = done));
    show(place, el("p", {}, "Asking the log"));
    const isOwn = (proof) => [".tlog-proof", ".tlog-bundle"].some((ending) => proof.name === file.name + ending);
    const own = proofs.filter(
      (proof) =>
        isOwn(proof) || (artifacts.length === 1 && proofs.length === 1) || bundleHas(session, proof, session.th.hex(digest)),
    );
    show(place, await verdicts(session, file, digest, row, own));
  }
}

/** Tells bundles from proof files by their first line. */
const isBundle = (proof) => proof.text.startsWith("treehead-bundle@");

/** The entries of a bundle, each with what it says. Throws if it is malformed. */
const entriesOf = (session, bundle) =>
  session.th.readProof(bundle.text).entries.map((one) => ({ ...one, read: readEntry(session, one.entry) }));

/** Whether a bundle says that it proves a release with this file. The verdict says if it does. */
function bundleHas(session, proof, hex) {
  if (!isBundle(proof)) return false;
  try {
    const isIts = ({ read }) => read.what === "release" && read.artifacts.some((artifact) => artifact.sha256 === hex);
    return entriesOf(session, proof).some(isIts);
  } catch {
    return false;
  }
}

/** Entries of a bundle that are shown. */
const MOST_ENTRIES = 200;

/** A bundle without a file: each of its entries, proven in the tree that the page verified. */
async function bundleCards(session, bundle) {
  const { checkpoint } = session.th.readProof(bundle.text);
  const head = el("h3", {}, bundle.name);
  if (checkpoint.origin !== session.head.origin)
    return [head, notice("warn", "Of another log", el("p", {}, `It is of ${checkpoint.origin}, and this is ${session.head.origin}.`))];
  const rows = entriesOf(session, bundle);
  const newer = rows.filter((row) => row.index >= session.head.size).length;
  const shown = rows.filter((row) => row.index < session.head.size).slice(0, MOST_ENTRIES);
  await prove(session, shown);
  const parts = [
    head,
    el("p", {}, `${words.count(rows.length, "entry", "entries")} under the head of ${words.count(checkpoint.size, "leaf", "leaves")}. The page proved them in the tree of today: ${proofWords(session, shown)}.`),
    el("ol", { class: "rows" }, shown.map((row) => rowElement(session, row))),
  ];
  const more = rows.length - newer - shown.length;
  if (more > 0) parts.push(el("p", { class: "muted" }, `${words.count(more, "more entry", "more entries")} not shown.`));
  if (newer > 0)
    parts.push(notice("warn", "Newer than this page's head", el("p", {}, `${words.count(newer, "entry", "entries")} of it. Load the page again.`)));
  parts.push(el("p", { class: "muted" }, "Drop a file as well for the verdict about it."));
  return parts;
}

async function hash(session, file, progress) {
  // The browser's own hashing is quicker, and needs the whole file in memory.
  if (file.size <= 64 * 1024 * 1024 && globalThis.crypto?.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
    progress(file.size);
    return digest;
  }
  return session.th.sha256Of(file, progress);
}

async function verdicts(session, file, digest, row, own) {
  const hex = session.th.hex(digest);
  const head = [
    el("h3", {}, file.name),
    facts([
      ["SHA-256", code(hex)],
      ["Size", words.size(file.size)],
    ]),
  ];
  if (!session.trust) {
    const link = el("a", { href: "#/trust" }, "Say whom you trust");
    return [head, notice("warn", "Could not tell", el("p", {}, "Nothing says whom to trust. ", link))];
  }
  const ask = (release, proof) => verdict(session, { proof, digest, file: file.name }, release);
  if (row) return [head, card(await ask(row, proofFile(session, row)), row)];
  const cards = [];
  for (const { name, text } of own) cards.push(card(await ask(null, text), null, `Judged by ${name}.`));
  const page = await session.log.page(session.tree, { digest: hex }, null, 100, (entry) => readEntry(session, entry));
  await prove(session, page.rows);
  const releases = page.rows.filter((one) => one.proof && one.read.what === "release");
  for (const one of releases.slice(0, MOST_RELEASES)) cards.push(card(await ask(one, proofFile(session, one)), one));
  const more = releases.length - MOST_RELEASES;
  if (more > 0)
    cards.push(el("p", { class: "muted" }, `${words.count(more, "older release")} with this file as well.`));
  return [head, cards.length > 0 ? cards : nothing(page.next)];
}

/** No release has the file, as far as was looked. */
function nothing(next) {
  if (next === null) {
    const advice = "If its publisher logs every release here, do not install it.";
    return notice("bad", "Not in this log", el("p", {}, "No release in this log has this file."), el("p", {}, advice));
  }
  const far = `No release among the newest entries has it, back to leaf ${words.number(next)}. This log has no search.`;
  return notice("warn", "Could not tell", el("p", {}, far));
}

/**
 * The verdict about a file by a proof, compared with the log's newest head. Withdrawals are looked for in the log, and proven.
 * `release` is the proven row that the proof is of, if there is one.
 */
async function verdict(session, asked, release) {
  const { th, log, trust } = session;
  // The audience is a part of the question: whoever is shown the release sees for whom it is.
  const question = { ...asked, trust, audience: release?.read.audience ?? undefined };
  const found = await th.verifyOnline(question, log.fetchPath);
  if (!found.ok || found.withdrawals === "learnt") return found;
  const { rows, whole } = await withdrawalsOf(session, release ?? (await proven(session, found.index)));
  if (rows.length === 0) return { ...found, unsure: !whole };
  const { read, index } = rows[0];
  const by = `by ${words.list(read.publishers)}, leaf ${words.number(index)}`;
  const message = `${found.purl}, the release at leaf ${words.number(found.index)}, was withdrawn ${by}: ${read.reason}`;
  return { ok: false, code: "withdrawn", message, advice: "Do not install it." };
}

/** Each cosigner once, whatever the number of its keys. */
function cosigners(witnesses) {
  const latest = new Map(witnesses.map(({ cosigner, time }) => [cosigner, time]));
  return [...latest].map(([cosigner, time]) => el("div", {}, `${cosigner}, ${words.ago(time)}`));
}

function card(found, release, how) {
  const by = how && el("p", { class: "muted" }, how);
  const link = (index, text) => el("p", {}, el("a", { href: `#/leaf/${index}` }, text));
  if (found.ok) {
    return notice(
      "good",
      "Verified",
      facts([
        ["Release", found.purl],
        ["Publisher", found.publisher],
        ["Kind, channel", `${words.kind(found.kind)}, ${found.channel}, sequence ${found.sequence}`],
        ["For", found.audience && `${found.audience} only`],
        ["Witnesses", cosigners(found.latest_witnesses ?? found.witnesses)],
        ["Withdrawals", found.unsure ? "none among the entries that the page read" : "none"],
      ]),
      by,
      link(found.index, `Leaf ${words.number(found.index)} of ${words.number(found.tree_size)}`),
    );
  }
  return notice(
    UNSURE.includes(found.code) ? "warn" : "bad",
    found.code === "could-not-tell" ? "Could not tell" : `Refused: ${found.code}`,
    el("p", {}, sentence(found.expected && found.seen ? found.message.split(": expected ", 1)[0] : found.message)),
    facts([
      ["Expected", found.expected],
      ["Seen", found.seen],
    ]),
    found.advice && el("p", {}, found.advice),
    by,
    release && link(release.index, `The release, leaf ${words.number(release.index)}`),
  );
}
