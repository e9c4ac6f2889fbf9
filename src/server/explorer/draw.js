// Pictures: the tree, the way from a leaf to the root, growth over time, the numbers of a channel.
// Each has its content in words for those who don't see it.

import { brief, el, svg } from "./dom.js";
import * as words from "./words.js";

/** Leaves from one to another, which is not included. */
function range(first, end) {
  return end - first === 1
    ? `leaf ${words.number(first)}`
    : `leaves ${words.number(first)} to ${words.number(end - 1)}`;
}

/** The complete subtrees that a tree consists of, largest first, as `[first leaf, leaves]`. */
export function subtrees(size) {
  const parts = [];
  let first = 0;
  for (let bit = 2 ** Math.floor(Math.log2(Math.max(size, 1))); bit >= 1; bit /= 2) {
    if (first + bit <= size) {
      parts.push([first, bit]);
      first += bit;
    }
  }
  return parts;
}

/** The tree as its complete subtrees; `seen` is the size that this browser knew before. */
export function tree(size, seen) {
  const [width, height] = [640, 190];
  const parts = subtrees(size);
  if (parts.length === 0) return el("p", { class: "muted" }, "The tree is empty.");
  // Heights in logarithm, so that a subtree of one leaf is still seen beside one of a million.
  const levels = parts.map(([, leaves]) => Math.log2(leaves));
  const shares = levels.map((level) => level + 1.4);
  const total = shares.reduce((sum, share) => sum + share, 0);
  const scale = (width - 20) / total;
  const label = `A tree of ${words.count(size, "leaf", "leaves")}: complete subtrees of ${words.list(parts.map(([, leaves]) => words.number(leaves)))} leaves.`;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "picture" });
  const base = height - 34;
  const tops = [];
  let x = 10;
  parts.forEach(([first, leaves], at) => {
    const share = shares[at] * scale;
    const top = base - 14 - (levels[at] / Math.max(levels[0], 1)) * (base - 60);
    const middle = x + share / 2;
    const inset = Math.min(4, share / 6);
    // How much of it this browser knew before: all, nothing, or the leaves on its left.
    const known = seen === undefined ? 1 : Math.min(Math.max((seen - first) / leaves, 0), 1);
    const [left, right] = [x + inset, x + share - inset];
    const part = (from, to, name) =>
      svg(
        "polygon",
        { points: `${middle},${top} ${from},${base} ${to},${base}`, class: name },
        svg("title", {}, range(first, first + leaves)),
      );
    const split = left + known * (right - left);
    if (known > 0) picture.append(part(left, split, "subtree"));
    if (known < 1) picture.append(part(split, right, "subtree new"));
    if (share > 11 * words.number(leaves).length)
      picture.append(svg("text", { x: middle, y: base + 21, class: "tick" }, words.number(leaves)));
    tops.push([middle, top]);
    x += share;
  });
  // The root joins the subtrees from the right.
  let [joinX, joinY] = tops.at(-1);
  for (const [topX, topY] of tops.slice(0, -1).reverse()) {
    const [nextX, nextY] = [(joinX + topX) / 2, Math.max(10, Math.min(joinY, topY) - 14)];
    picture.append(svg("path", { d: `M${topX},${topY}L${nextX},${nextY}L${joinX},${joinY}`, class: "edge" }));
    [joinX, joinY] = [nextX, nextY];
  }
  picture.append(svg("circle", { cx: joinX, cy: joinY, r: 5, class: "root" }, svg("title", {}, "root")));
  return el(
    "figure",
    {},
    picture,
    el(
      "figcaption",
      {},
      `${parts.length === 1 ? "One complete subtree" : `${words.count(parts.length, "complete subtree")}, joined by one root`}${seen !== undefined && seen < size ? `. New since your last visit: ${range(seen, size)}` : ""}.`,
    ),
  );
}

/** Sizes over time, as this browser saw them. */
export function growth(sizes) {
  if (sizes.length < 2) {
    return el(
      "p",
      { class: "muted" },
      "Growth is drawn from the heads that this browser sees. Come back, or leave the page open: it looks again every half minute.",
    );
  }
  const [width, height, left, bottom] = [640, 200, 76, 30];
  const [from, to] = [sizes[0][0], sizes.at(-1)[0]];
  const [low, high] = [Math.min(...sizes.map((one) => one[1])), Math.max(...sizes.map((one) => one[1]))];
  const x = (t) => left + ((t - from) / Math.max(to - from, 1)) * (width - left - 12);
  const y = (n) => height - bottom - ((n - low) / Math.max(high - low, 1)) * (height - bottom - 16);
  let line = "";
  sizes.forEach(([t, n], at) => {
    // A size holds until the next one was seen.
    if (at > 0) line += `L${x(t).toFixed(1)},${y(sizes[at - 1][1]).toFixed(1)}`;
    line += `${at === 0 ? "M" : "L"}${x(t).toFixed(1)},${y(n).toFixed(1)}`;
  });
  const area = `${line}L${x(to).toFixed(1)},${height - bottom}L${x(from).toFixed(1)},${height - bottom}Z`;
  const label = `Tree size from ${words.number(low)} on ${words.time(from)} to ${words.number(high)} on ${words.time(to)}, as this browser saw it.`;
  const sameDay = words.day(from) === words.day(to);
  const ends = sameDay ? [words.clock(from), words.clock(to)] : [words.day(from), words.day(to)];
  return el(
    "figure",
    {},
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "picture" },
      svg("path", { d: area, class: "area" }),
      svg("path", { d: line, class: "line" }),
      sizes.length <= 60 &&
        sizes.map(([t, n]) =>
          svg(
            "circle",
            { cx: x(t).toFixed(1), cy: y(n).toFixed(1), r: 3, class: "dot" },
            svg("title", {}, `${words.number(n)} on ${words.time(t)}`),
          ),
        ),
      svg("text", { x: left - 8, y: y(high) + 4, class: "tick end" }, words.number(high)),
      high > low && svg("text", { x: left - 8, y: y(low) + 4, class: "tick end" }, words.number(low)),
      svg("text", { x: left, y: height - 6, class: "tick start" }, ends[0]),
      svg("text", { x: width - 12, y: height - 6, class: "tick end" }, ends[1]),
    ),
    el("figcaption", {}, `The sizes that this browser saw, ${words.count(sizes.length, "head")} in all.`),
  );
}

/** The way from a leaf to the root: one step for each hash of the proof. */
export function path(proof) {
  const steps = el("ol", {
    class: "path",
    reversed: true,
    "aria-label": `The way from leaf ${proof.index} to the root, in ${words.count(proof.path.length, "step")}`,
  });
  const node = (kind, title, hash, where) =>
    el(
      "div",
      { class: `node ${kind}` },
      el("span", { class: "node-title" }, title),
      brief(hash, 10),
      where && el("span", { class: "node-range" }, where),
    );
  [...proof.path].reverse().forEach((step, at) => {
    const own = node(
      at === 0 ? "root" : "own",
      at === 0 ? "root" : "computed",
      step.parent,
      range(step.parent_first, step.parent_end),
    );
    const sibling = node("sibling", `${step.side} neighbour`, step.sibling, range(step.first, step.end));
    steps.append(el("li", {}, own, el("div", { class: "join" }, sibling)));
  });
  steps.append(
    el(
      "li",
      { class: "leaf-step" },
      node(
        proof.path.length === 0 ? "root" : "leaf",
        proof.path.length === 0 ? "the leaf is the root" : "this leaf",
        proof.leaf_hash,
        `leaf ${words.number(proof.index)}`,
      ),
    ),
  );
  return steps;
}

/** The numbers of a channel: releases, withdrawn releases and gaps. */
export function channel(track, isWithdrawn) {
  const most = 240;
  const numbers = track.numbers.slice(-most);
  const cells = el("ol", { class: "numbers", "aria-label": `Sequence numbers of ${track.channel}` });
  const gapBefore = new Map(track.gaps.map(([from, to]) => [to, from]));
  for (const number of numbers) {
    const from = gapBefore.get(number);
    if (from !== undefined) {
      const missing = number - from - 1;
      const which = missing === 1 ? `${from + 1}` : `${from + 1} to ${number - 1}`;
      cells.append(
        el(
          "li",
          { class: "number gap", title: `${which} missing` },
          el("span", { class: "hidden" }, `missing: ${which}`),
          el("span", { "aria-hidden": "true" }, missing === 1 ? "–" : `–${missing}`),
        ),
      );
    }
    const { read, index } = track.releases.get(number);
    const takenBack = isWithdrawn(read);
    cells.append(
      el(
        "li",
        { class: takenBack ? "number taken-back" : "number" },
        el(
          "a",
          { href: `#/leaf/${index}`, title: `${read.version ?? ""}, leaf ${index}${takenBack ? ", withdrawn" : ""}` },
          String(number),
          takenBack && el("span", { class: "hidden" }, " withdrawn"),
        ),
      ),
    );
  }
  return cells;
}
