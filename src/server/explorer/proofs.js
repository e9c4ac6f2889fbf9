// Entries, read and proven; what they say about each other.

import { pause } from "./dom.js";
import * as words from "./words.js";

/** Rows that are proven before the browser may do something else. */
const AT_ONCE = 20;

/** What an entry says, by the module. */
export function readEntry(session, entry) {
  const read = session.th.readEntry(entry, session.trust, session.head.origin);
  for (const artifact of read.artifacts ?? []) artifact.sha256 ??= artifact.digest?.sha256;
  if (read.purl) {
    read.package ??= read.purl.replace(/#.*$/, "").replace(/@[^/@?]*(?=\?|$)/, "");
    read.version ??= /@([^/@?#]*)(?=[?#]|$)/.exec(read.purl)?.[1];
  }
  return read;
}

/** Reads rows and proves them in the tree, some at a time. Each row gets `read`, and `proof` or `fault`. */
export async function prove(session, rows) {
  for (let at = 0; at < rows.length; at += AT_ONCE) {
    const some = rows.slice(at, at + AT_ONCE);
    for (const row of some) row.read ??= readEntry(session, row.entry);
    const leaves = some.map(({ index, read }) => ({ index, leaf: read.leaf_hash }));
    const found = await session.tree.proveAll(leaves);
    some.forEach((row, place) => {
      if (found[place] instanceof Error) row.fault = found[place].message;
      else row.proof = found[place];
    });
    await pause();
  }
}

/** Whether the head that rows are proven under is one that a quorum of trusted witnesses stands behind. */
export const isVerified = ({ head, growth }) => head.trusted && head.quorum.reached && growth.relation !== "forked";

/** Why not, in words. */
export function doubt({ head, growth }) {
  if (growth.relation === "forked") return "the log signed another one as well";
  return head.trusted ? "its head has no quorum of witnesses" : "nobody verified its head";
}

/** How many rows there are, and how many of them are proven, in words. */
export function proofWords(session, rows) {
  const wrong = rows.filter((row) => !row.proof).length;
  const all = words.count(rows.length, "entry", "entries");
  if (wrong > 0) return `${all}, of which ${words.count(wrong, "is", "are")} not in the tree`;
  if (isVerified(session)) return `${all}, all proven from tiles`;
  return `${all}, all in the tree, but ${doubt(session)}`;
}

/**
 * What proven statements say about others: withdrawals and disclosures by leaf hash, attestations by digest. Unknown signers
 * don't count.
 */
export function gather(rows) {
  const maps = ["withdrawals", "summaries", "provenance", "reviews", "disclosures"];
  const others = Object.fromEntries(maps.map((name) => [name, new Map()]));
  const put = (map, key, value) => map.set(key, [...(map.get(key) ?? []), value]);
  for (const { read, proof, index } of rows) {
    if (!proof || read.what === "release" || !read.publishers?.length) continue;
    if (read.what === "withdrawal") put(others.withdrawals, read.withdrawn_leaf_hash, { ...read, index });
    if (read.what === "disclosure") put(others.disclosures, read.review_leaf_hash, { ...read, index });
    const { provenance, summaries, reviews } = others;
    const map = { provenance, "verification-summary": summaries, review: reviews }[read.what];
    if (map)
      for (const artifact of read.artifacts ?? []) if (artifact.sha256) put(map, artifact.sha256, { ...read, index });
  }
  return others;
}

/** Artifacts whose attestations are looked for. */
const MOST_ARTIFACTS = 8;

/** Fetches one entry and proves it. */
export async function proven(session, index) {
  const [found] = await session.tree.entries(index, index + 1);
  const row = { index, entry: found.entry };
  await prove(session, [row]);
  if (row.fault) throw new Error(`leaf ${index} is not in the tree: ${row.fault}`);
  return row;
}

/** The proof file of a proven entry under the head that was verified: c2sp.org/tlog-proof. */
export function proofFile(session, row) {
  const { th, head } = session;
  const lines = ["c2sp.org/tlog-proof@v1", `extra ${th.base64(row.entry)}`, `index ${row.index}`, ...row.proof.proof];
  return `${lines.join("\n")}\n\n${head.raw}`;
}

/** Whether a withdrawal is of this release, by a publisher of it: nobody else may withdraw it. */
function withdraws(withdrawal, release, index) {
  const isIts = withdrawal.withdrawn_leaf_hash === release.leaf_hash;
  const mine = release.publishers ?? [];
  return (
    isIts &&
    (index === undefined || withdrawal.withdraws === index) &&
    withdrawal.publishers?.some((by) => mine.includes(by))
  );
}

/** The withdrawals of a release among those that were gathered. */
export function withdrawalsAmong(others, release) {
  return (others.withdrawals.get(release.leaf_hash) ?? []).filter((one) => withdraws(one, release));
}

/** Pages that are looked through for withdrawals of a release. */
const MOST_PAGES = 16;

/** The proven withdrawals of a release. `whole` is false where there may be more than was looked through. */
export async function withdrawalsOf(session, { index, read }) {
  const rows = [];
  let next = null;
  for (let pages = 0; pages < MOST_PAGES; pages++) {
    const filters = { withdraws: read.leaf_hash };
    const page = await session.log.page(session.tree, filters, next, 100, (entry) => readEntry(session, entry));
    await prove(session, page.rows);
    rows.push(...page.rows.filter((row) => row.proof && withdraws(row.read, read, index)));
    next = page.next;
    // Nothing is withdrawn before it is there.
    if (next === null || next <= index) return { rows, whole: true };
  }
  return { rows, whole: false };
}

/**
 * What others state about a release: its withdrawals, and attestations about its artifacts. `whole` is false where more
 * may be there than was looked for.
 */
export async function about(session, row) {
  const { read } = row;
  const found = new Map();
  let whole = true;
  const look = async (filters) => {
    const page = await session.log.page(session.tree, filters, null, 100, (entry) => readEntry(session, entry));
    whole &&= page.next === null;
    for (const one of page.rows) if (one.index !== row.index) found.set(one.index, one);
  };
  const digests = [...new Set((read.artifacts ?? []).map((artifact) => artifact.sha256).filter(Boolean))];
  if (session.log.searchable !== false && read.what === "release") await look({ withdraws: read.leaf_hash });
  for (const digest of digests.slice(0, MOST_ARTIFACTS)) await look({ digest });
  // A review of a source has no artifacts to be found by.
  if (digests.length === 0 && read.what === "review" && read.package) await look({ package: read.package, kind: "disclosure" });
  whole &&= digests.length <= MOST_ARTIFACTS;
  const rows = [...found.values()].sort((a, b) => b.index - a.index);
  await prove(session, rows);
  return { rows, whole, others: gather(rows) };
}
