import { MigrationError } from '../error.ts';
import { checkPageCount, wordsFor } from './bit-words.ts';

/** Limits and default of `clear-bitmap-shift`: chunks of 2^shift target pages. */
export const CLEAR_BITMAP_SHIFT_MIN = 6;
export const CLEAR_BITMAP_SHIFT_DEFAULT = 18;
export const CLEAR_BITMAP_SHIFT_MAX = 31;

/**
 * Which chunks of a block still have to be cleared ("re-protected") in the dirty log before one of their
 * pages is sent. Clearing lazily in large chunks spreads the cost of re-protecting a large guest over
 * the pass, and a page that was written again before its chunk's turn is sent only once.
 */
export class ClearBitmap {
  readonly pageCount: number;
  readonly shift: number;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #chunkCount: number;

  /** All chunks unmarked.
   * @throws MigrationError `bad-option` when `shift` is no integer from 6 to 31. */
  constructor(pageCount: number, shift = CLEAR_BITMAP_SHIFT_DEFAULT) {
    checkPageCount(pageCount);
    if (!Number.isInteger(shift) || shift < CLEAR_BITMAP_SHIFT_MIN || shift > CLEAR_BITMAP_SHIFT_MAX) {
      throw new MigrationError('bad-option', 'clear-bitmap-shift is out of range', {
        found: String(shift),
        expected: `${CLEAR_BITMAP_SHIFT_MIN} to ${CLEAR_BITMAP_SHIFT_MAX}`,
      });
    }
    this.pageCount = pageCount;
    this.shift = shift;
    this.#chunkCount = Math.ceil(pageCount / 2 ** shift);
    this.#words = new Int32Array(new SharedArrayBuffer(wordsFor(this.#chunkCount) * 4));
  }

  /** Marks every chunk; done after each sync of the log. */
  markAll(): void {
    for (let word = 0; word < this.#words.length; word++) Atomics.store(this.#words, word, -1);
  }

  /**
   * Unmarks the chunk that holds `page` and returns its pages, when it was marked. The caller clears the
   * log for exactly these pages before it reads any of them.
   */
  takeChunk(page: number): { first: number; count: number } | undefined {
    const chunk = page >>> this.shift;
    if (chunk >= this.#chunkCount) {
      throw new MigrationError('bad-page', `a block of ${this.pageCount} pages has no page ${page}`);
    }
    const bit = 1 << (chunk & 31);
    if ((Atomics.and(this.#words, chunk >>> 5, ~bit) & bit) === 0) return undefined;
    const first = chunk * 2 ** this.shift;
    return { first, count: Math.min(2 ** this.shift, this.pageCount - first) };
  }
}
