// Reviews: what was looked at, with what result, and which findings were shown to whom.

import { badge, brief, el, notice, shownLines } from "./dom.js";
import { proven } from "./proofs.js";
import * as words from "./words.js";

const leafLink = (index, text = `Leaf ${words.number(index)}`) => el("a", { href: `#/leaf/${index}` }, text);

/** The result of a review or a test as a badge. */
export function resultBadge(result) {
  const looks = { PASSED: "good", PASSED_WITH_FINDINGS: "warn", WARNED: "warn", FAILED: "bad" };
  return badge(looks[result] ?? "plain", words.result(result));
}

/** The disclosures of a review's findings among those that were gathered, the newest last. */
const disclosuresOf = (others, review) =>
  (others.disclosures.get(review.leaf_hash) ?? []).filter((one) => review.commitments.includes(one.commitment)).reverse();

/** `2 secret findings, of which 1 was shown to somebody`, or nothing. */
function findingWords(review, others) {
  const count = review.commitments?.length ?? 0;
  if (count === 0) return "";
  const shown = new Set(disclosuresOf(others, review).map((one) => one.commitment)).size;
  const all = words.count(count, "secret finding");
  return shown === 0 ? `${all}, not shown` : `${all}, of which ${words.count(shown, "was", "were")} shown`;
}

/** What reviews say about an artifact of a release, as items of a list. */
export function reviewItems(others, artifact) {
  return (others.reviews.get(artifact.sha256) ?? []).map((one) =>
    el(
      "li",
      {},
      resultBadge(one.result),
      " ",
      `${words.list(one.publishers)} reviewed ${artifact.name ?? "it"} (${words.list(one.scope)}), ${words.time(one.time)}. `,
      one.commitments.length > 0 && `${findingWords(one, others)}. `,
      leafLink(one.index),
    ),
  );
}

/** The findings of a review: each is a commitment, and perhaps somebody was shown it. */
export function findings(review, others) {
  if (review.what !== "review") return null;
  const section = el(
    "section",
    { class: "card", "aria-labelledby": "findings" },
    el("h2", { id: "findings" }, "Secret findings"),
  );
  if (review.commitments.length === 0) {
    section.append(el("p", {}, "None: what was found is in the report, or nothing was."));
    return section;
  }
  section.append(
    el("p", {}, `${findingWords(review, others)}.`),
    el(
      "p",
      { class: "muted" },
      "The log has a commitment to each, the hash of the finding and a secret salt. Nobody can read a finding from it, and the reviewer can't change one. Who showed which finding to whom is in the log as well.",
    ),
  );
  const shown = disclosuresOf(others, review);
  const item = (commitment) => {
    const its = shown.filter((one) => one.commitment === commitment);
    const head = el("p", { class: "inline" }, el("span", { class: "muted" }, "Commitment"), brief(commitment, 16));
    if (its.length === 0) head.append(badge("plain", "not shown"));
    return el("li", {}, head, its.map(disclosed));
  };
  section.append(el("ol", { class: "findings" }, review.commitments.map(item)));
  return section;
}

/** A disclosure, under the commitment that it opens. */
function disclosed(one) {
  const by = words.list(one.publishers);
  if (one.finding === null)
    return el("p", {}, badge("plain", `shown to ${one.to}`), " ", `and not here, says ${by}. `, leafLink(one.index));
  const text = el("blockquote", { class: "finding" });
  text.append(document.createTextNode(shownLines(one.finding)));
  return [
    text,
    el("p", {}, badge("good", "shown to everybody"), " ", `by ${by}; finding and salt open the commitment. `, leafLink(one.index)),
  ];
}

/** Compares a disclosure with the review that it names, which is fetched and proven. */
export async function disclosureOf(session, read) {
  if (read.what !== "disclosure") return null;
  const link = leafLink(read.review, `The review, leaf ${words.number(read.review)}`);
  const row = await proven(session, read.review).catch(() => null);
  const review = row?.read;
  const isIts = review?.leaf_hash === read.review_leaf_hash && review.commitments?.includes(read.commitment);
  if (!isIts)
    return notice("bad", "Not a finding of that review", el("p", {}, "The review that it names has no such commitment."), el("p", {}, link));
  const by = review.publishers?.length ? `by ${words.list(review.publishers)}` : "by nobody who is trusted here";
  const title = read.finding === null ? `A finding was shown to ${read.to}` : "A finding was shown to everybody";
  return notice("plain", title, el("p", {}, `Its commitment is one of a review ${by}, made before. `, link));
}
