// RFC 6962, slow and obvious, with the platform's SHA-256: what the module is compared with.

export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

function joined(...parts) {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** A tree over the entries "entry 0", "entry 1", ... */
export class ReferenceTree {
  #leaves;
  #roots = new Map();

  static of(size) {
    return ReferenceTree.over(Array.from({ length: size }, (_, at) => `entry ${at}`));
  }

  /** A tree over other entries. */
  static async over(texts) {
    const [tree, size] = [new ReferenceTree(), texts.length];
    const entries = texts.map((text) => new TextEncoder().encode(text));
    tree.#leaves = await Promise.all(entries.map((entry) => sha256(joined([0], entry))));
    // `tile` answers at once, so what it needs is computed here.
    for (let end = 256; end <= size; end += 256) await tree.root(end - 256, end);
    return tree;
  }

  texts(first, end) {
    return Array.from({ length: end - first }, (_, at) => `entry ${first + at}`);
  }

  leaf(index) {
    return this.#leaves[index];
  }

  leaves(first, end) {
    return joined(...this.#leaves.slice(first, end));
  }

  /** MTH of section 2.1 over leaves first to end. */
  async root(first, end) {
    const key = `${first} ${end}`;
    if (!this.#roots.has(key)) this.#roots.set(key, await this.#compute(first, end));
    return this.#roots.get(key);
  }

  async #compute(first, end) {
    if (first === end) return sha256(new Uint8Array());
    if (end - first === 1) return this.#leaves[first];
    const split = first + this.#split(end - first);
    return sha256(joined([1], await this.root(first, split), await this.root(split, end)));
  }

  #split(count) {
    return 2 ** Math.floor(Math.log2(count - 1));
  }

  /** PATH of section 2.1.1. */
  async path(index, end, first = 0) {
    if (end - first === 1) return [];
    const split = first + this.#split(end - first);
    return index < split
      ? [...(await this.path(index, split, first)), await this.root(split, end)]
      : [...(await this.path(index, end, split)), await this.root(first, split)];
  }

  /** The bytes of a tile of a tree of at most 65,536 leaves. */
  tile(path, size) {
    const [, level, number, partial] = /^tile\/(\d)\/(\d{3})(?:\.p\/(\d+))?$/.exec(path);
    const first = Number(number) * 256;
    const at = level === "0" ? size : Math.floor(size / 256);
    const width = Math.min(256, at - first);
    if (width !== Number(partial ?? 256)) throw new Error(`${path} is not a tile of the tree of ${size}`);
    const places = Array.from({ length: width }, (_, at) => first + at);
    return joined(...places.map((at) => (level === "0" ? this.#leaves[at] : this.#roots.get(`${at * 256} ${at * 256 + 256}`))));
  }

  /** The bytes of an entry bundle. */
  bundle(path) {
    const [, number, width = 256] = /^tile\/entries\/(\d{3})(?:\.p\/(\d+))?$/.exec(path);
    const first = Number(number) * 256;
    const entries = this.texts(first, first + Number(width)).map((entry) => new TextEncoder().encode(entry));
    return joined(...entries.flatMap((entry) => [[entry.length >> 8, entry.length & 255], entry]));
  }
}
