/** Pages per chunk: 4 KiB of bits. */
const CHUNK_PAGES = 32_768;

/** A set of page numbers that takes memory only where it has members, whatever the highest possible one is. */
export class PageSet {
  readonly #chunks: (Uint8Array | undefined)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(page: number): void {
    const index = Math.floor(page / CHUNK_PAGES);
    this.#chunks[index] ??= new Uint8Array(CHUNK_PAGES / 8);
    const chunk = this.#chunks[index];
    const bit = page % CHUNK_PAGES;
    const mask = 1 << (bit & 7);
    if ((chunk[bit >>> 3]! & mask) !== 0) return;
    chunk[bit >>> 3]! |= mask;
    this.#size++;
  }

  has(page: number): boolean {
    const chunk = this.#chunks[Math.floor(page / CHUNK_PAGES)];
    const bit = page % CHUNK_PAGES;
    return chunk !== undefined && (chunk[bit >>> 3]! & (1 << (bit & 7))) !== 0;
  }
}
