// Whom the page believes: what the log says of itself, or what the user brings.

import { button, code, el, facts, notice, sentence, show } from "./dom.js";
import { findTrust, readTrust } from "./head.js";
import { trusted } from "./memory.js";
import * as words from "./words.js";

export async function trustView(session, main) {
  const { trust, trustFrom, memory } = session;
  const seen = memory?.get();
  show(
    main,
    el("h1", {}, "Trust"),
    el(
      "section",
      { class: "card", "aria-labelledby": "whom" },
      el("h2", { id: "whom" }, "Whom this page believes"),
      source(session),
      trust && described(trust),
      trustFrom === "you" && button("Believe the log's own word again", () => change(session, null)),
    ),
    bring(session),
    el(
      "section",
      { class: "card", "aria-labelledby": "remembered" },
      el("h2", { id: "remembered" }, "What this browser remembers"),
      seen
        ? facts([
            ["Last head", `${words.count(seen.size, "leaf", "leaves")}, ${words.time(seen.time)}`],
            ["Root", code(seen.root)],
            ["First visit", words.time(seen.first)],
          ])
        : el("p", {}, "Nothing of this log."),
      el(
        "p",
        { class: "muted" },
        "It stays in this browser. If the log ever shows a history that the remembered head is not a part of, the page says so and keeps the head.",
      ),
      seen &&
        button(
          "Forget it",
          () => {
            memory.forget();
            session.restart();
          },
          "quiet",
        ),
    ),
  );
}

function source(session) {
  if (session.trustFrom === "you")
    return el(
      "p",
      {},
      `You gave this on ${words.time(session.trustTime)}. It holds for ${session.log.prefix} in this browser.`,
    );
  if (session.trustFrom === "log") {
    return [
      el(
        "p",
        {},
        `The log says this of itself, since ${words.time(session.saidSince)} at the latest. You would notice if it said something else, but you have only its word for it.`,
      ),
      el("p", {}, "For more, bring the file that your vendor ships with its product."),
    ];
  }
  return notice(
    "warn",
    "Nobody yet",
    el(
      "p",
      {},
      "This log does not say which keys it signs with. Bring a trust file or a policy, and the page verifies its tree head.",
    ),
  );
}

function described(trust) {
  return facts([
    ["Logs", el("ul", { class: "plain" }, trust.logs.map(logItem))],
    ["Quorum", trust.quorum],
    ["Witnesses", trust.witnesses.length > 0 ? words.list(trust.witnesses) : "none"],
    ["Publishers", trust.publishers.length > 0 ? words.list(trust.publishers) : "none"],
  ]);
}

function logItem(log) {
  const key = ({ key, type }) =>
    el("li", {}, el("span", { class: "key" }, key), " ", el("span", { class: "muted" }, type));
  return el("li", {}, el("strong", {}, log.origin), el("ul", { class: "plain" }, log.keys.map(key)));
}

function bring(session) {
  const fault = el("div", { "aria-live": "polite" });
  const input = el("input", { type: "file", id: "trust-files", multiple: true });
  const text = el("textarea", {
    id: "trust-text",
    rows: 5,
    spellcheck: "false",
    autocomplete: "off",
    placeholder: "log log.example.com+1a2b3c4d+…",
  });
  const accept = (files) => {
    try {
      readTrust(session.th, files).free();
      change(session, files);
    } catch (error) {
      show(fault, notice("bad", "That can't be read", el("p", {}, sentence(error.message))));
    }
  };
  input.addEventListener("change", async () => {
    const files = await Promise.all(
      [...input.files].map(async (file) => ({ name: file.name, text: await file.text() })),
    );
    input.value = "";
    // The policy first: publishers are in a file of TOML.
    files.sort((a, b) => Number(a.text.includes("[[publisher]]")) - Number(b.text.includes("[[publisher]]")));
    if (files.length > 2)
      return void show(
        fault,
        notice("bad", "Too many files", el("p", {}, "A trust file, or a policy and a file of publishers.")),
      );
    accept(files.map((file) => file.text));
  });
  return el(
    "section",
    { class: "card", "aria-labelledby": "bring" },
    el("h2", { id: "bring" }, "Bring your own"),
    el(
      "p",
      {},
      "An ",
      el("code", {}, "endpoint.trust"),
      ", or an ",
      el("code", {}, "endpoint.policy"),
      " with or without ",
      el("code", {}, "publishers.toml"),
      ".",
    ),
    el("div", { class: "field" }, el("label", { for: "trust-files" }, "Files"), input),
    el(
      "form",
      {
        class: "field",
        onsubmit: (event) => {
          event.preventDefault();
          if (text.value.trim()) accept([text.value]);
        },
      },
      el("label", { for: "trust-text" }, "Or paste a policy or a trust file"),
      text,
      el("button", { type: "submit" }, "Use it"),
    ),
    fault,
  );
}

async function change(session, files) {
  if (files) trusted.put(session.log.prefix, files);
  else trusted.forget(session.log.prefix);
  await findTrust(session);
  session.restart();
}
