import { MULTIFD_PAGES_PER_PACKET } from '@pageferry/core/wire';

/** A range is what a migration's first pass looks at for one packet: 128 pages of a block in address order. */
export const RANGE_PAGES = MULTIFD_PAGES_PER_PACKET;

/** Words of a range: block, first page, number of pages that are not zero, and a bit for each page. */
const RANGE_WORDS = 3 + RANGE_PAGES / 32;
const FIRST_CAPACITY = 1024;

/** Which pages are not zero: 28 bytes for each 512 KiB of memory. */
export class PageRanges {
  #words = new Uint32Array(FIRST_CAPACITY * RANGE_WORDS);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Adds a range without pages. Returns its index. */
  add(block: number, firstPage: number): number {
    const at = this.#length * RANGE_WORDS;
    if (at === this.#words.length) {
      const words = new Uint32Array(this.#words.length * 2);
      words.set(this.#words);
      this.#words = words;
    }
    this.#words[at] = block;
    this.#words[at + 1] = firstPage;
    return this.#length++;
  }

  /** Marks page `position` (0 to 127) of the last range. */
  mark(position: number): void {
    const at = (this.#length - 1) * RANGE_WORDS;
    this.#words[at + 2]!++;
    this.#words[at + 3 + (position >>> 5)]! |= 1 << (position & 31);
  }

  block(range: number): number {
    return this.#words[range * RANGE_WORDS]!;
  }

  firstPage(range: number): number {
    return this.#words[range * RANGE_WORDS + 1]!;
  }

  markedPages(range: number): number {
    return this.#words[range * RANGE_WORDS + 2]!;
  }

  isMarked(range: number, position: number): boolean {
    return (this.#words[range * RANGE_WORDS + 3 + (position >>> 5)]! & (1 << (position & 31))) !== 0;
  }
}
