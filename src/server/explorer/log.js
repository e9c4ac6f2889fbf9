// Reading a log: tlog-tiles, and the search of a treehead log. Nothing here is believed; see head.js and rows.js.

const TIMEOUT = 30_000;
const CHECKPOINT_BYTES = 1024 * 1024;
const TILE_BYTES = 256 * 32;
const BUNDLE_BYTES = 256 * (65_535 + 2);
const ANSWER_BYTES = 32 * 1024 * 1024;
/** Entries that are looked through for one page where the log has no search. */
const LOOK_THROUGH = 4_096;

/** The log did not answer, or not as a log does. */
export class LogError extends Error {
  constructor(message, status) {
    super(message);
    this.name = "LogError";
    this.status = status;
  }
}

/** The log at a URL prefix that ends in a slash. */
export class Log {
  /** Whether the log has a search: unknown until it was asked. */
  searchable = undefined;

  constructor(prefix, th) {
    this.prefix = prefix;
    this.th = th;
  }

  /** Fetches at most `most` bytes below the prefix. `fresh` answers are not taken from a cache unasked. */
  async get(path, most, fresh) {
    const url = new URL(path, this.prefix);
    let answer;
    try {
      answer = await fetch(url, {
        cache: fresh ? "no-cache" : "default",
        credentials: "omit",
        referrerPolicy: "no-referrer",
        signal: AbortSignal.timeout(TIMEOUT),
      });
    } catch (error) {
      const own = new URL(url, location.href).origin === location.origin;
      const failed = own
        ? "the connection failed"
        : "the connection failed, or it does not let pages of other sites read it (CORS)";
      const why = error.name === "TimeoutError" ? "it took longer than 30 seconds" : failed;
      throw new LogError(`${url} could not be fetched: ${why}`);
    }
    if (!answer.ok) {
      const problem = await limited(answer, 65_536)
        .then((bytes) => JSON.parse(new TextDecoder().decode(bytes)))
        .catch(() => ({}));
      const detail = typeof problem.detail === "string" ? `: ${problem.detail}` : "";
      throw new LogError(`${url} answered ${answer.status}${detail}`, answer.status);
    }
    const bytes = await limited(answer, most);
    if (bytes === null) throw new LogError(`${url} answered with more than ${most} bytes`);
    return bytes;
  }

  /** The checkpoint's note. */
  async checkpoint() {
    return this.get("checkpoint", CHECKPOINT_BYTES, true);
  }

  /** A tile or an entry bundle, for the checks of the module. */
  fetchTile = async (path) => {
    const most = path.startsWith("tile/entries/") ? BUNDLE_BYTES : TILE_BYTES;
    try {
      return await this.get(path, most, false);
    } catch (error) {
      // c2sp.org/tlog-tiles: a partial tile may be gone once the full one is there.
      const partial = /^(.*)\.p\/(\d+)$/.exec(path);
      if (!partial || error.status !== 404) throw error;
      const full = await this.get(partial[1], most, false);
      const width = Number(partial[2]);
      return path.startsWith("tile/entries/") ? firstEntries(full, width) : full.subarray(0, width * 32);
    }
  };

  /** Status and bytes, for a verdict that asks the log. */
  fetchPath = async (path, most) => {
    try {
      return { status: 200, bytes: await this.get(path, most, true) };
    } catch (error) {
      if (error.status === undefined) throw error;
      return { status: error.status, bytes: "" };
    }
  };

  /**
   * Statements below leaf `before` that match all filters, newest first: at most `limit` rows with their entries, and the
   * leaf to go on before, if there is more. Rows of a search are the log's word until they are proven.
   */
  async page(tree, filters, before, limit, readEntry) {
    if (this.searchable !== false) {
      try {
        const page = await this.search(filters, tree.size, before, limit);
        this.searchable = true;
        return page;
      } catch (error) {
        if (this.searchable === true || ![400, 404, 405, 410, 501].includes(error.status)) throw error;
        // Static files, other software, an older version, or a log of bytes; or only this question was wrong.
        this.searchable = await this.search({}, tree.size, null, 1).then(
          () => true,
          () => false,
        );
        if (this.searchable) throw error;
      }
    }
    return this.lookThrough(tree, filters, before, limit, readEntry);
  }

  async search(filters, size, before, limit) {
    const query = new URLSearchParams({ entries: "true", size: String(size), limit: String(Math.min(limit, 100)) });
    for (const [field, value] of Object.entries(filters)) if (value) query.set(field, value);
    if (before !== null) query.set("before", String(before));
    const bytes = await this.get(`releases?${query}`, ANSWER_BYTES, true);
    const page = JSON.parse(new TextDecoder().decode(bytes));
    const rows = page.releases.map((said) => ({
      index: said.index,
      entry: Uint8Array.from(atob(said.entry), (c) => c.charCodeAt(0)),
      said,
    }));
    const inOrder = rows.every((row, at) => row.index < (at === 0 ? (before ?? size) : rows[at - 1].index));
    if (!inOrder || page.tree_size !== size || (page.next !== undefined && !(page.next < (before ?? size)))) {
      throw new LogError("the log's search did not answer the question");
    }
    return { rows, next: page.next ?? null };
  }

  /** Reads the entries themselves, from the newest on. What comes back is proven. */
  async lookThrough(tree, filters, before, limit, readEntry) {
    const rows = [];
    const end = Math.min(before ?? tree.size, tree.size);
    let next = end;
    while (next > 0 && rows.length < limit && end - next < LOOK_THROUGH) {
      const from = Math.floor((next - 1) / 256) * 256;
      const entries = await tree.entries(from, next);
      for (const { index, entry } of entries.reverse()) {
        next = index;
        const read = readEntry(entry);
        if (matches(read, filters)) rows.push({ index, entry, read });
        if (rows.length === limit) break;
      }
    }
    return { rows, next: next > 0 ? next : null };
  }
}

async function limited(answer, most) {
  const parts = [];
  let length = 0;
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > most) {
      await reader.cancel();
      return null;
    }
    parts.push(value);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The first entries of a bundle: each has its length before it. */
function firstEntries(bundle, count) {
  let end = 0;
  for (let at = 0; at < count && end + 2 <= bundle.length; at++) end += 2 + ((bundle[end] << 8) | bundle[end + 1]);
  return bundle.subarray(0, end);
}

/** Whether a statement matches the filters of a search, as the log's own search has them. */
export function matches(read, filters) {
  const text = (value) => String(value ?? "");
  const packages = [read.package, ...(read.artifacts ?? []).flatMap((artifact) => [artifact.name, artifact.uri])]
    .filter((purl) => text(purl).startsWith("pkg:"))
    .map((purl) => text(purl).replace(/@[^/@]*$/, ""));
  const paths = packages.map((purl) => purl.replace(/^pkg:[^/]*\//, "").toLowerCase());
  const checks = {
    package: (value) => packages.includes(value),
    version: (value) => read.version === value,
    name: (value) => {
      const wanted = value.split("/").map(encodeURIComponent).join("/").toLowerCase();
      return paths.some((path) => path.split("/").slice(-wanted.split("/").length).join("/").startsWith(wanted));
    },
    digest: (value) => {
      const wanted = value.replace(/^sha256:/, "");
      return (read.artifacts ?? []).some((artifact) => artifact.sha256 === wanted) || read.manifest?.root === wanted;
    },
    publisher: (value) => (read.signers ?? []).includes(value) || (read.keys ?? []).includes(value),
    channel: (value) => read.channel === value,
    kind: (value) => (read.what === "release" ? read.kind : read.what) === value,
    withdraws: (value) => read.withdrawn_leaf_hash === value,
  };
  return Object.entries(filters).every(([field, value]) => !value || checks[field]?.(value) === true);
}
