// The tree head, its quorum, growth, and the newest statements.

import { badge, brief, button, code, download, el, facts, notice, sentence, show } from "./dom.js";
import * as draw from "./draw.js";
import { gather, prove, readEntry } from "./proofs.js";
import { marksOf, rowElement } from "./rows.js";
import * as words from "./words.js";

/** The state of the head in a word, for the bar at the top. */
export function headState(session) {
  const { head, growth } = session;
  if (session.fault) return ["warn", "the log does not answer"];
  if (!head) return ["plain", "loading"];
  const leaves = words.count(head.size, "leaf", "leaves");
  if (growth?.relation === "forked") return ["bad", "the log forked"];
  if (head.refusal) return ["bad", "head not signed by a known key"];
  if (!head.trusted) return ["warn", `${leaves}, not verified`];
  if (!head.quorum.reached) return ["warn", `${leaves}, no quorum`];
  return ["good", `${leaves}, verified`];
}

/** What is wrong with the log as a whole: shown above every view. */
export function alarms(session) {
  const { head, growth, th } = session;
  const found = [];
  if (growth?.relation === "forked") {
    found.push(
      notice(
        "bad",
        "This log signed two histories",
        el(
          "p",
          {},
          `The head of size ${words.number(growth.since.size)} that this browser saw ${words.ago(growth.since.time)} is not part of the tree that the log shows now. The log's own signatures prove it.`,
        ),
        el(
          "p",
          {},
          "Keep the evidence, and give it to somebody who monitors the log. Anybody can check it with ",
          el("code", {}, "treehead verify-evidence"),
          ".",
        ),
        button("Download the evidence", () => download(growth.evidence.file_name, growth.evidence.bytes), "strong"),
      ),
    );
  }
  if (head?.refusal) {
    found.push(
      notice(
        "bad",
        "The tree head is not signed by a key that you trust",
        el("p", {}, sentence(head.refusal.message)),
        el("p", {}, "Nothing on this page is proven. Look at ", el("a", { href: "#/trust" }, "whom you trust"), "."),
      ),
    );
  }
  if (growth?.relation === "older") {
    found.push(
      notice(
        "warn",
        "The log shows an older head than before",
        el(
          "p",
          {},
          `This browser saw ${words.count(growth.since.size, "leaf", "leaves")} ${words.ago(growth.since.time)}. Both heads belong to one history, so a cache may have kept the old one.`,
        ),
      ),
    );
  }
  if (growth?.relation === "unknown" && !head?.refusal) {
    found.push(
      notice(
        "warn",
        "Could not tell whether the log continues the history that this browser saw",
        el("p", {}, sentence(growth.reason)),
        growth.since &&
          el(
            "p",
            {},
            `This browser saw ${words.count(growth.since.size, "leaf", "leaves")} ${words.ago(growth.since.time)}.`,
          ),
      ),
    );
  }
  if (session.saidChanged) {
    found.push(
      notice(
        "warn",
        "The log names other keys, witnesses or publishers than before",
        el(
          "p",
          {},
          "Keys rotate and publishers come and go, but a log that wants to deceive you would do the same. Compare with what your vendor ships.",
        ),
        button("I have compared", () => session.accept()),
      ),
    );
  }
  if (session.trustFault) found.push(notice("warn", "Trust can't be read", el("p", {}, session.trustFault)));
  if (session.fault) found.push(notice("warn", "The log does not answer", el("p", {}, sentence(session.fault))));
  return th ? found : [];
}

export async function overview(session, main) {
  const { head } = session;
  const newest = el(
    "section",
    { "aria-labelledby": "newest" },
    el("h2", { id: "newest" }, "Newest entries"),
    el("p", { class: "muted" }, "Loading"),
  );
  show(
    main,
    el("h1", {}, "Overview"),
    el("div", { class: "columns" }, headCard(session), growthCard(session)),
    treeCard(session),
    newest,
  );
  if (head.size === 0)
    return show(newest, el("h2", { id: "newest" }, "Newest entries"), el("p", {}, "The log is empty."));
  const page = await session.log.page(session.tree, {}, null, 8, (entry) => readEntry(session, entry));
  await prove(session, page.rows);
  const others = gather(page.rows);
  show(
    newest,
    el("h2", { id: "newest" }, "Newest entries"),
    el(
      "ol",
      { class: "rows" },
      page.rows.map((row) => rowElement(session, row, marksOf(row, others))),
    ),
    el("p", {}, el("a", { href: "#/releases" }, "All entries, and search")),
  );
}

function headCard(session) {
  const { head, trust, trustFrom } = session;
  const card = el("section", { class: "card", "aria-labelledby": "head" }, el("h2", { id: "head" }, "Tree head"));
  const [kind, text] = headState(session);
  card.append(
    el(
      "p",
      { class: "big" },
      words.number(head.size),
      " ",
      el("span", { class: "unit" }, head.size === 1 ? "leaf" : "leaves"),
    ),
    el("p", {}, badge(kind === "plain" ? "warn" : kind, verdict(session), text)),
    facts([
      ["Origin", head.origin],
      ["Root", code(head.root)],
      [
        "Quorum",
        head.trusted ? [head.quorum.rule, head.quorum.reached ? "" : ` (${head.quorum.message})`] : trust?.quorum,
      ],
      [
        "Newest cosignature",
        head.quorum?.newest &&
          el(
            "time",
            { datetime: head.quorum.newest, title: words.time(head.quorum.newest) },
            words.ago(head.quorum.newest),
          ),
      ],
    ]),
  );
  if (head.lines.length > 0) {
    card.append(
      el(
        "details",
        {},
        el("summary", {}, words.count(head.lines.length, "signature")),
        el(
          "ul",
          { class: "signatures" },
          head.lines.map((line) =>
            el(
              "li",
              {},
              el("span", { class: "key" }, line.key),
              " ",
              el(
                "span",
                { class: "muted" },
                [line.role === "unknown" ? "" : line.role, line.type === "unknown" ? "" : line.type]
                  .filter(Boolean)
                  .join(", "),
              ),
              " ",
              line.verified ? badge("good", "verified") : badge("plain", "not checked: unknown key"),
            ),
          ),
        ),
      ),
    );
  }
  card.append(
    el(
      "p",
      { class: "muted" },
      trustFrom === "you"
        ? "Verified with the keys that you gave."
        : trustFrom === "log"
          ? [
              "Verified with the keys that the log itself names. ",
              el("a", { href: "#/trust" }, "Bring your own"),
              ", and you need not take its word.",
            ]
          : [el("a", { href: "#/trust" }, "Say whom you trust"), " to have it verified."],
    ),
    button("Download the checkpoint", () => download("checkpoint", head.raw, "text/plain"), "quiet"),
  );
  return card;
}

function verdict(session) {
  const { head } = session;
  if (head.refusal) return "refused";
  if (session.growth?.relation === "forked") return "signed by the log, and so is another history";
  if (!head.trusted) return "not verified";
  if (!head.quorum.reached) return "signed by the log, without a quorum of witnesses";
  if (head.witnesses.length === 0) return "signed by the log; no witnesses are required";
  return `signed by the log, cosigned by ${words.list([...new Set(head.witnesses.map((one) => one.cosigner))])}`;
}

function growthCard(session) {
  const { growth, memory, head } = session;
  const kept = memory.get();
  const card = el(
    "section",
    { class: "card", "aria-labelledby": "growth" },
    el("h2", { id: "growth" }, "Since your last visit"),
  );
  const since = growth.since;
  const grown = since ? head.size - since.size : 0;
  const say = {
    first: [
      "plain",
      "The first head of this log that this browser sees. From now on it notices if the log takes anything back.",
    ],
    same: ["good", `The same tree as ${since && words.ago(since.time)}.`],
    grown: [
      "good",
      `${words.count(grown, "new leaf", "new leaves")}. The tree of ${since && words.number(since.size)} that this browser saw ${since && words.ago(since.time)} is a proven part of this one: nothing was taken back or changed.`,
    ],
    older: ["warn", "This head is older than the one that this browser saw last, and a proven part of it."],
    forked: ["bad", "The log signed two histories: see above."],
    unknown: ["warn", "Could not tell: see above."],
  }[growth.relation];
  card.append(
    el(
      "p",
      {},
      badge(
        say[0],
        {
          first: "first visit",
          same: "unchanged",
          grown: "grown",
          older: "older",
          forked: "forked",
          unknown: "could not tell",
        }[growth.relation],
      ),
    ),
    el("p", {}, say[1]),
    draw.growth(kept?.sizes ?? []),
  );
  if (kept?.sizes?.length > 1) {
    card.append(
      el(
        "details",
        {},
        el("summary", {}, "The same as a table"),
        el(
          "table",
          {},
          el(
            "thead",
            {},
            el("tr", {}, el("th", { scope: "col" }, "Seen"), el("th", { scope: "col", class: "amount" }, "Leaves")),
          ),
          el(
            "tbody",
            {},
            [...kept.sizes]
              .reverse()
              .slice(0, 50)
              .map(([t, n]) =>
                el("tr", {}, el("td", {}, words.time(t)), el("td", { class: "amount" }, words.number(n))),
              ),
          ),
        ),
      ),
    );
  }
  return card;
}

function treeCard(session) {
  const { head, growth } = session;
  const seen = growth.relation === "grown" ? growth.since.size : undefined;
  return el(
    "section",
    { class: "card", "aria-labelledby": "tree" },
    el("h2", { id: "tree" }, "The tree"),
    draw.tree(head.size, seen),
    el(
      "p",
      { class: "muted" },
      "Every entry is a leaf. The root ",
      brief(head.root),
      " changes if any leaf does, so whoever knows the root knows them all.",
    ),
  );
}
