// Numbers, times and names in the reader's own way of writing them.

const numbers = new Intl.NumberFormat();
const bytes = new Intl.NumberFormat(undefined, {
  style: "unit",
  unit: "byte",
  unitDisplay: "long",
  notation: "standard",
});
const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const days = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const clocks = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
// These stand within sentences, which are in English.
const since = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const lists = new Intl.ListFormat("en", { type: "conjunction" });
const plurals = new Intl.PluralRules("en");

export const number = (n) => numbers.format(n);
export const size = (n) => bytes.format(n);
export const time = (t) => times.format(new Date(t));
export const clock = (t) => clocks.format(new Date(t));
export const day = (t) => days.format(new Date(t));
export const list = (items) => lists.format(items);

/** `1 entry`, `1,234 entries`. */
export function count(n, one, many = `${one}s`) {
  return `${number(n)} ${plurals.select(n) === "one" ? one : many}`;
}

/** `3 minutes ago`. */
export function ago(t, now = Date.now()) {
  const seconds = Math.round((new Date(t).getTime() - now) / 1000);
  for (const [unit, length] of [
    ["day", 86_400],
    ["hour", 3_600],
    ["minute", 60],
  ]) {
    if (Math.abs(seconds) >= length) return since.format(Math.trunc(seconds / length), unit);
  }
  return Math.abs(seconds) < 1 ? "just now" : since.format(seconds, "second");
}

/** Name and version to show for a purl. */
export function packageName(purl) {
  const match = /^pkg:[^/]+\/(?:(.*)\/)?([^/@?#]+)/.exec(purl ?? "");
  const plain = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };
  return match ? { namespace: plain(match[1] ?? ""), name: plain(match[2]) } : { namespace: "", name: purl ?? "" };
}

const KINDS = {
  build: "build",
  update: "update",
  "detection-rules": "detection rules",
  trust: "trust file",
  withdrawal: "withdrawal",
  provenance: "provenance",
  "verification-summary": "verification summary",
  review: "review",
  disclosure: "disclosure of a finding",
  sbom: "list of components",
  vex: "vulnerability statements",
  "test-result": "test result",
  imported: "statement from elsewhere",
  attestation: "attestation",
  opaque: "bytes",
};

const RESULTS = {
  PASSED: "passed",
  PASSED_WITH_FINDINGS: "passed with findings",
  WARNED: "warned",
  FAILED: "failed",
};

/** The result of a review or a test in words. */
export const result = (name) => RESULTS[name] ?? name;

/** The kind of a statement in words. */
export const kind = (name) => KINDS[name] ?? name;
export const KIND_NAMES = Object.keys(KINDS).filter((name) => name !== "opaque" && name !== "attestation");
