import { MigrationError } from '../error.ts';

/** What the page bitmaps share: 32-bit words as signed integers, which is what V8 keeps in registers. */

/** Page numbers are kept below 2^31 (8 TiB of RAM in one block), so that they stay small integers. */
const MAX_BITMAP_PAGES = 2 ** 31 - 1;

/** @throws MigrationError `bad-option` when the count is no integer from 0 to `MAX_BITMAP_PAGES`. */
export function checkPageCount(pageCount: number): void {
  if (!Number.isInteger(pageCount) || pageCount < 0 || pageCount > MAX_BITMAP_PAGES) {
    throw new MigrationError('bad-option', 'the number of pages of a bitmap is out of range', {
      found: String(pageCount),
      expected: `0 to ${MAX_BITMAP_PAGES}`,
    });
  }
}

export function wordsFor(bits: number): number {
  return Math.ceil(bits / 32);
}

/** Number of set bits of a word. */
export function popcount(word: number): number {
  let n = word - ((word >>> 1) & 0x55555555);
  n = (n & 0x33333333) + ((n >>> 2) & 0x33333333);
  return Math.imul((n + (n >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** The bits of word `word` that stand for positions in [first, end); the two must overlap. */
export function bitsOfRange(word: number, first: number, end: number): number {
  const base = word * 32;
  let mask = first > base ? -1 << (first - base) : -1;
  if (end - base < 32) mask &= (1 << (end - base)) - 1;
  return mask;
}

/** The `count` lowest set bits of a word that has more than that. */
export function lowestBits(word: number, count: number): number {
  let rest = word;
  for (let i = 0; i < count; i++) rest &= rest - 1;
  return word & ~rest;
}
