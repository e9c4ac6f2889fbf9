// The explorer of a log: loads the module, verifies the head, and shows the view that the address names.

import { add, el, notice, sentence, show, shown } from "./dom.js";
import { findTrust, refresh } from "./head.js";
import { leaf } from "./leaf.js";
import { Log } from "./log.js";
import { theme } from "./memory.js";
import { alarms, headState, overview } from "./overview.js";
import { packageView } from "./package.js";
import { releases } from "./releases.js";
import { load } from "./treehead.js";
import { trustView } from "./trust.js";
import { verifyView } from "./verify.js";

/** How often the head is looked at again while the page is seen. */
const AGAIN = 30_000;

const main = document.getElementById("main");
const state = document.getElementById("state");
const alarm = document.getElementById("alarm");
const session = { th: null, log: null, head: null, fault: null };

/** The URL prefix of the log: above this file, or what the address asks for. */
function prefix() {
  const asked = new URLSearchParams(location.search).get("log");
  const url = asked ? new URL(asked, location.href) : new URL("../", import.meta.url);
  if (!["http:", "https:"].includes(url.protocol))
    throw new Error("a log has an address that begins with https:// or http://");
  url.search = url.hash = "";
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return { url: url.href, elsewhere: asked !== null };
}

async function begin() {
  setUpTheme();
  setUpElsewhere();
  const { url, elsewhere } = prefix();
  session.th = await load();
  session.log = new Log(url, session.th);
  session.elsewhere = elsewhere;
  session.accept = () => {
    session.acceptSaid?.();
    session.saidChanged = false;
    showState();
  };
  session.restart = () => {
    Object.assign(session, { head: null, tree: null, growth: null });
    look().then(view);
  };
  await findTrust(session);
  await look();
  await view();
  addEventListener("hashchange", () => view(true));
  setInterval(() => document.hidden || again(), AGAIN);
  document.addEventListener("visibilitychange", () => document.hidden || again());
}

/** Looks at the head. False if nothing is new. */
async function look() {
  let isNew = false;
  try {
    isNew = await refresh(session);
    session.fault = null;
  } catch (error) {
    session.fault = error.message;
  }
  showState();
  return isNew;
}

async function again() {
  if (!(await look()) || !session.head) return;
  // Pages that somebody reads stay as they are; the overview is about now.
  if (route().name === "overview") await view();
}

function showState() {
  const [kind, text] = headState(session);
  state.className = `state ${kind}`;
  show(state, text);
  document.getElementById("origin").textContent = shown(session.head?.origin ?? "Transparency log");
  document.title = `${shown(session.head?.origin ?? "Transparency log")}`;
  show(
    alarm,
    session.elsewhere &&
      el(
        "p",
        { class: "elsewhere" },
        "Another log: ",
        el("code", {}, session.log.prefix),
        " ",
        el("a", { href: "?" }, "Back to the log of this server"),
      ),
    alarms(session),
  );
}

function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, argument] = path.split("/");
  return { name: name || "overview", argument, query: new URLSearchParams(query) };
}

async function view(moved = false) {
  const { name, argument, query } = route();
  // A package and an entry are parts of the releases.
  const part = ["package", "leaf"].includes(name) ? "releases" : null;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else if (link.dataset.view === part) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  const place = el("div", { class: "view" }, el("p", { class: "muted" }, "Loading"));
  show(main, place);
  main.setAttribute("aria-busy", "true");
  if (moved) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  try {
    if (!session.head && name !== "trust") throw new Error(session.fault ?? "the log does not answer");
    const views = {
      overview: () => overview(session, place),
      releases: () => releases(session, place, query),
      package: () => packageView(session, place, query),
      leaf: () => leaf(session, place, /^\d{1,16}$/.test(argument ?? "") ? Number(argument) : -1),
      verify: () => verifyView(session, place),
      trust: () => trustView(session, place),
    };
    if (!Object.hasOwn(views, name))
      show(place, el("h1", {}, "There is no such view"), el("p", {}, el("a", { href: "#/" }, "Go to the overview")));
    else await views[name]();
  } catch (error) {
    if (place.isConnected) {
      if (!place.querySelector("h1")) show(place, el("h1", {}, "Could not tell"));
      add(place, [
        notice(
          "warn",
          "This could not be read or proven",
          el("p", {}, sentence(error.message)),
          el("p", {}, el("button", { type: "button", onclick: () => view() }, "Try again")),
        ),
      ]);
    }
    console.error(error);
  } finally {
    if (place.isConnected) main.removeAttribute("aria-busy");
  }
  const heading = place.querySelector("h1")?.textContent;
  if (heading && name !== "overview" && place.isConnected)
    document.title = `${heading.trim()} · ${shown(session.head?.origin ?? "Transparency log")}`;
}

function setUpTheme() {
  const toggle = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (theme.get() ?? (dark.matches ? "dark" : "light")) === "dark";
  const apply = () => {
    const chosen = theme.get();
    if (chosen) document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
    toggle.textContent = isDark() ? "Light" : "Dark";
    toggle.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
  };
  toggle.addEventListener("click", () => {
    theme.put(isDark() ? "light" : "dark");
    apply();
  });
  dark.addEventListener("change", apply);
  apply();
}

function setUpElsewhere() {
  document.getElementById("elsewhere").addEventListener("submit", (event) => {
    event.preventDefault();
    const url = document.getElementById("elsewhere-url").value.trim();
    if (url) location.href = `?log=${encodeURIComponent(url)}`;
  });
}

begin().catch((error) => {
  console.error(error);
  show(state, "could not start");
  state.className = "state bad";
  show(main, el("h1", {}, "The explorer could not start"), el("p", {}, sentence(error.message)));
});
