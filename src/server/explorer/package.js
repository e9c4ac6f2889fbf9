// The history of a package: channels, gaps, withdrawals, attestations.

import { badge, button, el, show } from "./dom.js";
import * as draw from "./draw.js";
import { gather, proofWords, prove, readEntry, withdrawalsAmong } from "./proofs.js";
import { append, marksOf, rowElement, tracks } from "./rows.js";
import * as words from "./words.js";

const PAGE = 100;
const AT_FIRST = 500;

export async function packageView(session, main, query) {
  const purl = query.get("purl") ?? "";
  const { namespace, name } = words.packageName(purl);
  const summary = el("div");
  const list = el("ol", { class: "rows", "aria-label": "Entries about the package, newest first" });
  const status = el("p", { role: "status", "aria-live": "polite", class: "muted" }, "Loading");
  const more = el("div", { class: "more" });
  show(
    main,
    el("h1", {}, namespace && el("span", { class: "muted" }, `${namespace}/`), name),
    el("p", {}, el("code", { class: "hash" }, purl)),
    status,
    summary,
    el("h2", {}, "History"),
    list,
    more,
  );
  const alive = () => list.isConnected;
  const all = [];
  let next = null;
  let begun = false;

  async function load(count) {
    show(more);
    const target = all.length + count;
    while (alive() && all.length < target && !(begun && next === null)) {
      const page = await session.log.page(session.tree, { package: purl }, next, PAGE, (entry) =>
        readEntry(session, entry),
      );
      begun = true;
      next = page.next;
      await prove(session, page.rows);
      all.push(...page.rows);
      show(status, `${words.count(all.length, "entry", "entries")} so far`);
    }
    if (!alive()) return;
    const others = gather(all);
    show(summary, channels(all, others, next === null));
    show(list);
    await append(
      list,
      all.map((row) => () => rowElement(session, row, marksOf(row, others))),
      alive,
    );
    const whole =
      next === null ? "the whole history" : `back to leaf ${words.number(next)}; older entries are not loaded yet`;
    show(
      status,
      all.length === 0 && next === null
        ? "This log has nothing about the package."
        : `${proofWords(session, all)}: ${whole}.`,
    );
    show(
      more,
      next !== null &&
        button("Load older entries", () => load(AT_FIRST).catch((error) => show(status, error.message)), "strong"),
    );
  }
  await load(AT_FIRST);
}

function channels(rows, others, whole) {
  const found = tracks(rows);
  if (found.length === 0) return null;
  const isWithdrawn = (read) => withdrawalsAmong(others, read).length > 0;
  return el(
    "section",
    { class: "card", "aria-labelledby": "channels" },
    el("h2", { id: "channels" }, "Channels"),
    found.map((track) => {
      const withdrawn = [...track.releases.values()].filter(({ read }) => isWithdrawn(read)).length;
      const newest = track.releases.get(track.numbers.at(-1));
      return el(
        "div",
        { class: "track" },
        el("h3", {}, track.channel, " ", el("span", { class: "muted" }, `by ${track.publisher}`)),
        el(
          "p",
          {},
          `${words.count(track.numbers.length, "release")}, newest `,
          el("a", { href: `#/leaf/${newest.index}` }, newest.read.version ?? `number ${track.numbers.at(-1)}`),
          ". ",
          track.gaps.length === 0
            ? badge("good", "no gaps")
            : badge(
                "warn",
                words.count(track.gaps.length, "gap"),
                "A number was left out where numbers had been dense: perhaps a release that the log has not seen",
              ),
          " ",
          withdrawn > 0 && badge("bad", `${words.number(withdrawn)} withdrawn`),
        ),
        draw.channel(track, isWithdrawn),
        track.numbers.length > 240 && el("p", { class: "muted" }, "The newest 240 numbers are drawn."),
      );
    }),
    !whole &&
      el("p", { class: "muted" }, "Older releases are not loaded yet, so gaps may be missing here, or be none."),
  );
}
