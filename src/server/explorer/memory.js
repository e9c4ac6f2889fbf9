// What this browser keeps of a log: the head that it saw last, the sizes over time, forks, and the trust of its user.

const MOST_SIZES = 500;
const fallback = new Map();

function load(key) {
  try {
    const text = localStorage.getItem(key) ?? fallback.get(key);
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

function save(key, value) {
  const text = JSON.stringify(value);
  fallback.set(key, text);
  try {
    localStorage.setItem(key, text);
    return true;
  } catch {
    // Storage is off or full: what is remembered ends with this page.
    return false;
  }
}

function remove(key) {
  fallback.delete(key);
  try {
    localStorage.removeItem(key);
  } catch {
    // There is nothing to remove.
  }
}

/** The memory of one log. `name` is its origin, or its address if nothing says its origin. */
export class Memory {
  constructor(name) {
    this.key = `treehead.head ${name}`;
  }

  /** The head seen last: `{note, size, root, time}`, and all sizes with their times. */
  get() {
    const kept = load(this.key);
    return kept && Number.isSafeInteger(kept.size) && typeof kept.root === "string" ? kept : null;
  }

  /** Remembers a head that continues the one before. False if it will be forgotten with the page. */
  put(head, time = Date.now()) {
    const before = this.get();
    const sizes = before?.sizes ?? [];
    if (sizes.at(-1)?.[1] !== head.size) sizes.push([time, head.size]);
    // The first stays: growth is shown from there on.
    if (sizes.length > MOST_SIZES) sizes.splice(1, sizes.length - MOST_SIZES);
    return save(this.key, { ...head, time, sizes, first: before?.first ?? time });
  }

  forget() {
    remove(this.key);
  }
}

/** What the user trusts for the log at an address: `{files: [text, text?], time}`. */
export const trusted = {
  get: (prefix) => load(`treehead.trust ${prefix}`),
  put: (prefix, files) => save(`treehead.trust ${prefix}`, { files, time: Date.now() }),
  forget: (prefix) => remove(`treehead.trust ${prefix}`),
};

/** What the log itself said first about its keys and witnesses: its hash, to notice that it says something else. */
export const said = {
  get: (prefix) => load(`treehead.said ${prefix}`),
  put: (prefix, hash) => save(`treehead.said ${prefix}`, { hash, time: Date.now() }),
};

/** `light`, `dark`, or null for the system's. */
export const theme = {
  get: () => load("treehead.theme"),
  put: (name) => save("treehead.theme", name),
};
