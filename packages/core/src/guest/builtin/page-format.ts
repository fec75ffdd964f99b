import type { ContentWriter, Kind } from './content.ts';
import { PAGE_WORDS } from './layout.ts';
import { Random } from './random.ts';

/**
 * A data page of the built-in machine that holds something. Words of 32 bits, little-endian:
 *
 *   0        page number, with a tag XORed in
 *   1        version: incremented by every write
 *   2        kind of content
 *   3        checksum: the sum of all other words, each multiplied by an odd weight of its position
 *   4..1023  content
 *
 * The checksum is a sum so that a write of a part costs only that part; an odd weight makes every change of a
 * single word visible, different weights make visible a mix of two versions.
 */
const PAGE_TAG = 0x70666770;
const VERSION = 1;
const KIND = 2;
const CHECKSUM = 3;
const HEADER_WORDS = 4;

/** Words that a write of a part replaces. */
const PART_WORDS = 64;
const PARTS = PAGE_WORDS / PART_WORDS;

const WEIGHTS = weights();

function weights(): Int32Array {
  const random = new Random(0x73756d73);
  const table = Int32Array.from({ length: PAGE_WORDS }, () => random.next() | 1);
  table[CHECKSUM] = 0;
  return table;
}

function weightedSum(words: Int32Array, base: number, start: number, end: number): number {
  let even = 0;
  let odd = 0;
  for (let word = start; word < end; word += 2) {
    even = (even + Math.imul(words[base + word]!, WEIGHTS[word]!)) | 0;
    odd = (odd + Math.imul(words[base + word + 1]!, WEIGHTS[word + 1]!)) | 0;
  }
  return (even + odd) | 0;
}

/** What a write of a page needs besides the page. */
export interface PageWriter {
  readonly content: ContentWriter;
  readonly random: Random;
}

/** Writes the whole page that begins at `words[base]`. */
export function composePage(
  writer: PageWriter,
  words: Int32Array,
  base: number,
  page: number,
  version: number,
  kind: Kind,
): void {
  writer.content.fill(kind, words, base + HEADER_WORDS, base + PAGE_WORDS, writer.random);
  words[base] = page ^ PAGE_TAG;
  words[base + VERSION] = version;
  words[base + KIND] = kind;
  words[base + CHECKSUM] = weightedSum(words, base, 0, PAGE_WORDS);
}

/** Writes a random part of a page that was composed before, and its new version. */
export function rewritePart(
  writer: PageWriter,
  words: Int32Array,
  base: number,
  version: number,
  kind: Kind,
): void {
  // The first part has the header.
  const start = (1 + writer.random.below(PARTS - 1)) * PART_WORDS;
  const end = start + PART_WORDS;
  const before = weightedSum(words, base, start, end);
  const age = version - words[base + VERSION]!;
  writer.content.fill(kind, words, base + start, base + end, writer.random);
  words[base + VERSION] = version;
  words[base + CHECKSUM] =
    words[base + CHECKSUM]! +
    weightedSum(words, base, start, end) -
    before +
    Math.imul(age, WEIGHTS[VERSION]!);
}

/** What is wrong with a page that should hold `version`; undefined when nothing is. */
export function pageProblem(
  words: Int32Array,
  base: number,
  page: number,
  version: number,
): string | undefined {
  const found = words[base]! ^ PAGE_TAG;
  if (found !== page) {
    return words[base] === 0 ? 'is empty' : `is page ${found >>> 0}`;
  }
  const checksum = weightedSum(words, base, 0, PAGE_WORDS);
  if (words[base + CHECKSUM] !== checksum) return 'is torn: its checksum is wrong';
  if (words[base + VERSION] !== version) {
    return `has version ${words[base + VERSION]}, the ledger says ${version}`;
  }
  return undefined;
}
