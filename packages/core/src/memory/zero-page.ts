import { TARGET_PAGE_BYTES } from './ram-block.ts';

/**
 * The zero-page test. In Node the comparison is one memcmp against a page of zeros (20 GiB/s from RAM); where
 * there is no `Buffer` it reads 32-bit words (half of that). Neither allocates.
 */

/** Whether the page of 4096 bytes at `at` holds only zeros. `bytes` may be over shared memory that changes. */
export function isZeroPage(bytes: Uint8Array, at = 0): boolean {
  // Most pages that are not zero show it in the first of these that is looked at, each of which is a miss in the
  // caches; a call out of JavaScript costs more than all of them.
  if (bytes[at] !== 0 || bytes[at + 1365] !== 0 || bytes[at + 2730] !== 0 || bytes[at + 4095] !== 0)
    return false;
  return comparesToZero(bytes, at);
}

/** Only what is used of Node's Buffer: core/memory also runs where there is none. */
interface ZeroBuffer {
  compare(target: Uint8Array, targetStart: number, targetEnd: number): number;
}

const nodeBuffer = (globalThis as { Buffer?: { alloc(size: number): ZeroBuffer } }).Buffer;
const comparesToZero = nodeBuffer === undefined ? wordsAreZero : nodeComparison(nodeBuffer);

function nodeComparison(buffer: { alloc(size: number): ZeroBuffer }) {
  const zeros = buffer.alloc(TARGET_PAGE_BYTES);
  return (bytes: Uint8Array, at: number): boolean => zeros.compare(bytes, at, at + TARGET_PAGE_BYTES) === 0;
}

/** Views are kept per buffer: making one costs as much as testing a page. */
const wordViews = new WeakMap<ArrayBufferLike, Int32Array>();

/** The portable comparison; exported for its test. */
export function wordsAreZero(bytes: Uint8Array, at: number): boolean {
  const start = bytes.byteOffset + at;
  if (start % 4 !== 0) return bytesAreZero(bytes, at);
  let words = wordViews.get(bytes.buffer);
  if (words === undefined) {
    words = new Int32Array(bytes.buffer, 0, Math.floor(bytes.buffer.byteLength / 4));
    wordViews.set(bytes.buffer, words);
  }
  const first = start / 4;
  const end = first + TARGET_PAGE_BYTES / 4;
  for (let w = first; w < end; w += 8) {
    const low = words[w]! | words[w + 1]! | words[w + 2]! | words[w + 3]!;
    const high = words[w + 4]! | words[w + 5]! | words[w + 6]! | words[w + 7]!;
    if ((low | high) !== 0) return false;
  }
  return true;
}

function bytesAreZero(bytes: Uint8Array, at: number): boolean {
  for (let i = at; i < at + TARGET_PAGE_BYTES; i++) {
    if (bytes[i] !== 0) return false;
  }
  return true;
}
