// The tree head: fetched, verified, and compared with the one that this browser saw last.

import { LogError } from "./log.js";
import { Memory, said, trusted } from "./memory.js";

/** Finds out whom to trust: what the user gave, or what the log says of itself. */
export async function findTrust(session) {
  const { th, log } = session;
  session.trust = null;
  session.trustFrom = null;
  session.trustFault = null;
  session.saidChanged = false;
  const own = trusted.get(log.prefix);
  if (own) {
    try {
      session.trust = readTrust(th, own.files);
      session.trustFrom = "you";
      session.trustTime = own.time;
      return;
    } catch (error) {
      session.trustFault = `The trust that you gave can't be read: ${error.message}`;
    }
  }
  try {
    const bytes = await log.get("explorer/endpoint.trust", 4 * 1024 * 1024, true);
    session.trust = th.trust(bytes);
    session.trustFrom = "log";
    const hash = th.hex(th.sha256(bytes));
    const before = said.get(log.prefix);
    if (!before) said.put(log.prefix, hash);
    session.saidSince = before?.time ?? Date.now();
    session.saidChanged = Boolean(before && before.hash !== hash);
    session.acceptSaid = () => said.put(log.prefix, hash);
  } catch (error) {
    if (!(error instanceof LogError && error.status))
      session.trustFault ??= `What the log says of its keys can't be read: ${error.message}`;
  }
}

/** Reads a trust file, or a policy with or without publishers. */
export function readTrust(th, files) {
  return files.length === 1 && files[0].trimStart().startsWith("{") ? th.trust(files[0]) : th.trustFrom(...files);
}

/**
 * Fetches the head. `session.head` is then the newest head that continues the last one, and `session.growth` says how:
 *
 * - `first`: this browser saw no head of this log before
 * - `same`, `grown`: the log is what it was, and more
 * - `older`: the log shows an older head than before, and both belong together
 * - `forked`: the log signed two histories; `evidence` proves it
 * - `unknown`: it can't be told
 */
export async function refresh(session) {
  const { th, log } = session;
  const note = new TextDecoder().decode(await log.checkpoint());
  if (session.head && session.head.raw === note && session.growth.relation !== "unknown") return false;
  const head = open(session, note);
  const tree = th.tree({ size: head.size, root: head.root }, log.fetchTile);
  const memory = new Memory(head.trusted ? head.origin : `${log.prefix} unverified`);
  const growth = await compare(session, memory, head, tree);
  // After a fork or an older head, the page goes on with what it knew.
  if (session.head && ["forked", "older", "unknown"].includes(growth.relation)) {
    session.growth = growth;
    return true;
  }
  // What is new is told since the page was opened, not since the last look.
  if (session.head && growth.relation === "grown") {
    growth.since = session.growth.since ?? { size: session.head.size, time: session.head.fetched };
  }
  Object.assign(session, { head, tree, memory, growth });
  return true;
}

function open(session, note) {
  const { th, trust } = session;
  const plain = th.readCheckpoint(note);
  const head = { raw: note, origin: plain.origin, size: plain.size, root: plain.root, fetched: Date.now(), lines: [] };
  if (!trust)
    return {
      ...head,
      trusted: false,
      lines: plain.signatures.map((key) => ({ key, role: "unknown", verified: false })),
    };
  try {
    const checkpoint = th.checkpoint(note, trust);
    const { origin, size, root, witnesses, quorum, signatures, note: kept } = checkpoint;
    return { ...head, trusted: true, checkpoint, origin, size, root, witnesses, quorum, lines: signatures, note: kept };
  } catch (error) {
    return { ...head, trusted: false, refusal: error };
  }
}

async function compare(session, memory, head, tree) {
  const { th, log, trust } = session;
  const seen = memory.get();
  if (head.refusal) return { relation: "unknown", reason: head.refusal.message };
  const remember = () => memory.put({ note: head.note ?? head.raw, size: head.size, root: head.root });
  if (!seen) {
    return { relation: "first", kept: remember() };
  }
  const since = { size: seen.size, time: seen.time };
  if (seen.size === head.size && seen.root === head.root) {
    memory.put({ note: head.note ?? head.raw, size: head.size, root: head.root });
    return { relation: "same", since };
  }
  try {
    if (!head.trusted) {
      if (seen.size > head.size)
        return { relation: "unknown", since, reason: "the head is older than the one that this browser saw last" };
      await tree.proveGrowth({ size: seen.size, root: seen.root });
      remember();
      return { relation: "grown", since };
    }
    let before;
    try {
      before = th.checkpoint(seen.note, trust);
    } catch {
      const reason = "the head that this browser saw last is not signed by a key that you trust now";
      return { relation: "unknown", since, reason };
    }
    const found = await th.compare(before, head.checkpoint, log.fetchTile);
    if (found.relation === "forked") return { ...found, relation: "forked", since };
    if (seen.size > head.size) return { relation: "older", since };
    remember();
    return { relation: "grown", since };
  } catch (error) {
    return { relation: "unknown", since, reason: error.message };
  }
}
