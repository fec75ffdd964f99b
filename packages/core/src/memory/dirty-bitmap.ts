import { MigrationError } from '../error.ts';
import { bitsOfRange, checkPageCount, lowestBits, popcount, wordsFor } from './bit-words.ts';

/**
 * One bit per target page in shared memory: Uint32 words in host order, bit p%32 of word p/32 is page p.
 * Used as the log that vCPUs mark and as the set of pages that are still to be sent.
 *
 * Every change is one atomic read-modify-write of a word, so any number of threads may use the same
 * buffer. Two rules make it safe for memory that changes meanwhile, and both are the callers' to keep:
 * a page is marked *after* it was written, and its bit is cleared *before* it is read. `set` is always a
 * read-modify-write, never a test first: the test could be done before the page's stores are visible, see
 * a bit that is just being cleared, and the write would be lost.
 */
export class DirtyBitmap {
  readonly pageCount: number;
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;

  /** Over `buffer` as it is, or over a new buffer with no bit set.
   * @throws MigrationError `bad-option` when the buffer is too small or the count out of range. */
  constructor(pageCount: number, buffer?: SharedArrayBuffer) {
    checkPageCount(pageCount);
    const bytes = DirtyBitmap.bytesFor(pageCount);
    if (buffer !== undefined && buffer.byteLength < bytes) {
      throw new MigrationError('bad-option', `a bitmap of ${pageCount} pages does not fit its buffer`, {
        found: `${buffer.byteLength} bytes`,
        expected: `${bytes} bytes`,
      });
    }
    // An integer also for V8, however it was calculated.
    this.pageCount = pageCount | 0;
    this.buffer = buffer ?? new SharedArrayBuffer(bytes);
    this.#words = new Int32Array(this.buffer, 0, wordsFor(pageCount));
  }

  /** Bytes of a buffer for `pageCount` pages. */
  static bytesFor(pageCount: number): number {
    return wordsFor(pageCount) * 4;
  }

  /** Sets a page's bit; true when it was clear. */
  set(page: number): boolean {
    if (page >= this.pageCount) this.#outside(page, 1);
    const bit = 1 << (page & 31);
    return (Atomics.or(this.#words, page >>> 5, bit) & bit) === 0;
  }

  /** Sets `count` bits from `first`. */
  setRange(first: number, count: number): void {
    this.#checkRange(first, count);
    const words = this.#words;
    const end = first + count;
    for (let word = first >>> 5; word * 32 < end; word++) {
      const mask = bitsOfRange(word, first, end);
      if (mask === -1) Atomics.store(words, word, -1);
      else Atomics.or(words, word, mask);
    }
  }

  setAll(): void {
    this.setRange(0, this.pageCount);
  }

  test(page: number): boolean {
    if (page >= this.pageCount) this.#outside(page, 1);
    return ((Atomics.load(this.#words, page >>> 5) >>> (page & 31)) & 1) !== 0;
  }

  /** Clears a page's bit; true when it was set. */
  testAndClear(page: number): boolean {
    if (page >= this.pageCount) this.#outside(page, 1);
    const bit = 1 << (page & 31);
    return (Atomics.and(this.#words, page >>> 5, ~bit) & bit) !== 0;
  }

  /** Clears `count` bits from `first`; returns how many were set. */
  testAndClearRange(first: number, count: number): number {
    this.#checkRange(first, count);
    const words = this.#words;
    const end = first + count;
    let cleared = 0;
    for (let word = first >>> 5; word * 32 < end; word++) {
      const mask = bitsOfRange(word, first, end);
      if ((Atomics.load(words, word) & mask) === 0) continue;
      cleared += popcount(Atomics.and(words, word, ~mask) & mask);
    }
    return cleared;
  }

  /** Number of set bits. */
  count(): number {
    const words = this.#words;
    let set = 0;
    for (let word = 0; word < words.length; word++) {
      const bits = Atomics.load(words, word);
      if (bits !== 0) set += popcount(bits);
    }
    return set;
  }

  /** The first set page at or after `from`, or -1. */
  nextSet(from: number): number {
    return this.#next(from, 0);
  }

  /** The first clear page at or after `from`, or -1. */
  nextClear(from: number): number {
    return this.#next(from, -1);
  }

  /**
   * Collects up to `maxPages` set pages in ascending order, beginning at `from`, into `into` at index
   * `at`, and clears each. Returns how many; fewer than `maxPages` means that the end was reached. The
   * caller reads a page only after this has cleared its bit.
   *
   * @param end pages from here on stay: a multiple of 32, or no less than the number of pages
   */
  takeRun(from: number, maxPages: number, into: Uint32Array, at = 0, end = this.pageCount): number {
    const words = this.#words;
    const wordCount = Math.min(words.length, Math.ceil(end / 32));
    let left = Math.min(maxPages, into.length - at);
    if (from >= this.pageCount || left <= 0) return 0;
    let to = at;
    let word = from >>> 5;
    let wanted = -1 << (from & 31);
    for (; word < wordCount; word++, wanted = -1) {
      let bits = Atomics.load(words, word) & wanted;
      if (bits === 0) continue;
      if (left < 32 && popcount(bits) > left) bits = lowestBits(bits, left);
      bits &= Atomics.and(words, word, ~bits);
      const base = word * 32;
      const begin = to;
      if (bits === -1) {
        for (let bit = 0; bit < 32; bit++) into[to++] = base + bit;
      } else {
        while (bits !== 0) {
          into[to++] = base + 31 - Math.clz32(bits & -bits);
          bits &= bits - 1;
        }
      }
      left -= to - begin;
      if (left === 0) break;
    }
    return to - at;
  }

  /** Sets every bit here that is set in `log`, where it stays. Returns how many were not set here before. */
  addFrom(log: DirtyBitmap): number {
    this.#checkSameSize(log);
    const from = log.#words;
    const words = this.#words;
    let added = 0;
    for (let word = 0; word < words.length; word++) {
      const bits = Atomics.load(from, word);
      if (bits === 0) continue;
      const fresh = bits & ~Atomics.or(words, word, bits);
      if (fresh !== 0) added += popcount(fresh);
    }
    return added;
  }

  /** Of `count` pages from `first`, clears those here that are set in `other`. */
  clearSetIn(other: DirtyBitmap, first: number, count: number): void {
    this.#checkSameSize(other);
    this.#checkRange(first, count);
    const theirs = other.#words;
    const end = first + count;
    for (let word = first >>> 5; word * 32 < end; word++) {
      const bits = Atomics.load(theirs, word) & bitsOfRange(word, first, end);
      if (bits !== 0) Atomics.and(this.#words, word, ~bits);
    }
  }

  clearAll(): void {
    const words = this.#words;
    for (let word = 0; word < words.length; word++) {
      if (Atomics.load(words, word) !== 0) Atomics.store(words, word, 0);
    }
  }

  /** The first page at or after `from` whose bit differs from all bits of `skipped` (0 or -1), or -1. */
  #next(from: number, skipped: number): number {
    if (from >= this.pageCount) return -1;
    const words = this.#words;
    let wanted = -1 << (from & 31);
    for (let word = from >>> 5; word < words.length; word++, wanted = -1) {
      const bits = (Atomics.load(words, word) ^ skipped) & wanted;
      if (bits === 0) continue;
      const page = word * 32 + 31 - Math.clz32(bits & -bits);
      return page < this.pageCount ? page : -1;
    }
    return -1;
  }

  #checkSameSize(other: DirtyBitmap): void {
    if (other.pageCount === this.pageCount) return;
    throw new MigrationError('internal', 'bitmaps of different sizes do not go together', {
      found: `${other.pageCount} pages`,
      expected: `${this.pageCount} pages`,
    });
  }

  #checkRange(first: number, count: number): void {
    if (!(first >= 0 && count >= 0 && first + count <= this.pageCount)) this.#outside(first, count);
  }

  #outside(first: number, count: number): never {
    throw new MigrationError('bad-page', `a bitmap of ${this.pageCount} pages has no such pages`, {
      found: count === 1 ? `page ${first}` : `${count} pages from ${first}`,
    });
  }
}
