/*
 * XBZRLE: a page as the difference to what the destination has of it. Record, behind its word (ram-records.ts):
 *
 *   XBZRLE [|CONTINUE]  [cstr8 block name without CONTINUE], u8 0x01, be16 n (at most 4096), n bytes
 *
 * The n bytes are runs, in turns, the first one unchanged:
 *
 *   length               unchanged bytes; 0 only at the very beginning
 *   length, that many    new bytes, as they are; length is 1 or more
 *
 * length: below 0x80 one byte; else (length & 0x7f) | 0x80, length >> 7. Runs are as long as they can be, and the
 * unchanged rest of the page is left out. n = 0 says that nothing changed; a source sends no record then.
 */

const PAGE_BYTES = 4096;
const PAGE_WORDS = PAGE_BYTES / 4;
/** The only encoding that there is. */
export const XBZRLE_ENCODING = 0x01;
/** Bytes of a record between its head and the runs: the encoding and their length. */
export const XBZRLE_PREFIX_BYTES = 3;
/** What `encode` gives for a page whose runs take more room than the page. */
export const XBZRLE_OVERFLOW = -1;

/**
 * Encodes pages. It holds the page in a buffer of its own, to be filled before each call: bytes that a guest is
 * still writing would give a record that is of no page.
 */
export class XbzrleEncoder {
  /** One page; the caller copies it here. */
  readonly page: Uint8Array<ArrayBuffer>;
  /** Encoding, length and runs of the last page; what `encode` returned says how many bytes of runs there are. */
  readonly record: Uint8Array<ArrayBuffer>;
  readonly #words: Int32Array<ArrayBuffer>;

  constructor() {
    const memory = new ArrayBuffer(2 * PAGE_BYTES + XBZRLE_PREFIX_BYTES);
    this.page = new Uint8Array(memory, 0, PAGE_BYTES);
    this.record = new Uint8Array(memory, PAGE_BYTES);
    this.#words = new Int32Array(memory, 0, PAGE_WORDS);
    this.record[0] = XBZRLE_ENCODING;
  }

  /**
   * Encodes `page` against what the destination has: 4096 bytes of `before` from `at` on, a multiple of 4.
   * `words` are the same bytes as `before`.
   * @returns bytes of runs; 0: nothing changed; `XBZRLE_OVERFLOW`: the page is better sent as it is
   */
  encode(before: Uint8Array, words: Int32Array, at: number): number {
    const length = this.#runs(before, words, at);
    this.record[1] = length >>> 8;
    this.record[2] = length;
    return length;
  }

  #runs(before: Uint8Array, words: Int32Array, at: number): number {
    const { page, record } = this;
    let out = XBZRLE_PREFIX_BYTES;
    const end = out + PAGE_BYTES;
    for (let i = 0; i < PAGE_BYTES; ) {
      if (out + 2 > end) return XBZRLE_OVERFLOW;
      const unchanged = i;
      i = this.#skipEqual(before, words, at, i);
      if (i === PAGE_BYTES) break;
      out = putLength(record, out, i - unchanged);
      if (out + 2 > end) return XBZRLE_OVERFLOW;
      const changed = i;
      i = this.#skipDifferent(before, words, at, i);
      out = putLength(record, out, i - changed);
      if (out + i - changed > end) return XBZRLE_OVERFLOW;
      copyRun(page, changed, record, out, i - changed);
      out += i - changed;
    }
    return out - XBZRLE_PREFIX_BYTES;
  }

  /** From `i` on: the first byte that is different, or the page's end. */
  #skipEqual(before: Uint8Array, words: Int32Array, at: number, start: number): number {
    const page = this.page;
    let i = start;
    for (; (i & 3) !== 0; i++) if (page[i] !== before[at + i]) return i;
    const now = this.#words;
    const base = at >>> 2;
    let w = i >>> 2;
    for (; (w & 7) !== 0; w++) if (now[w] !== words[base + w]) return firstDifferent(page, before, at, w);
    for (; w < PAGE_WORDS; w += 8) {
      const b = base + w;
      const low =
        (now[w]! ^ words[b]!) |
        (now[w + 1]! ^ words[b + 1]!) |
        (now[w + 2]! ^ words[b + 2]!) |
        (now[w + 3]! ^ words[b + 3]!);
      const high =
        (now[w + 4]! ^ words[b + 4]!) |
        (now[w + 5]! ^ words[b + 5]!) |
        (now[w + 6]! ^ words[b + 6]!) |
        (now[w + 7]! ^ words[b + 7]!);
      if ((low | high) === 0) continue;
      while (now[w] === words[base + w]) w++;
      return firstDifferent(page, before, at, w);
    }
    return PAGE_BYTES;
  }

  /** From `i` on: the first byte that is the same, or the page's end. */
  #skipDifferent(before: Uint8Array, words: Int32Array, at: number, start: number): number {
    const page = this.page;
    let i = start;
    for (; (i & 3) !== 0; i++) if (page[i] === before[at + i]) return i;
    const now = this.#words;
    const base = at >>> 2;
    let w = i >>> 2;
    // Whether one of the word's bytes is zero, that is the same in both.
    for (; w < PAGE_WORDS; w++) {
      const x = now[w]! ^ words[base + w]!;
      if (((x - 0x01010101) & ~x & 0x80808080) !== 0) break;
    }
    for (i = w << 2; i < PAGE_BYTES && page[i] !== before[at + i]; ) i++;
    return i;
  }
}

function firstDifferent(page: Uint8Array, before: Uint8Array, at: number, word: number): number {
  let i = word << 2;
  while (page[i] === before[at + i]) i++;
  return i;
}

function putLength(target: Uint8Array, at: number, length: number): number {
  if (length < 0x80) {
    target[at] = length;
    return at + 1;
  }
  target[at] = length | 0x80;
  target[at + 1] = length >>> 7;
  return at + 2;
}

/**
 * Writes the changed bytes of a page into it, in place; without `target` the runs are only checked.
 *
 * @param runs `length` bytes of `source` from `at` on: what follows the record's prefix
 * @param targetAt where the page begins in `target`
 * @returns -1, or where in `source` what cannot be begins; bytes before that may have been written
 */
export function decodeXbzrle(
  source: Uint8Array,
  at: number,
  length: number,
  target?: Uint8Array,
  targetAt = 0,
): number {
  const end = at + length;
  let page = 0;
  let changed = false;
  for (let i = at; i < end; changed = !changed) {
    // At the end of a run there are a length and a byte at least, or nothing.
    if (end - i < 2) return i;
    const first = i;
    let run = source[i++]!;
    if (run >= 0x80) {
      const high = source[i++]!;
      if (high >= 0x80) return first;
      run = (run & 0x7f) | (high << 7);
    }
    if (page + run > PAGE_BYTES) return first;
    if (changed) {
      if (run === 0 || i + run > end) return first;
      if (target !== undefined) copyRun(source, i, target, targetAt + page, run);
      i += run;
    } else if (run === 0 && first !== at) return first;
    page += run;
  }
  return changed ? end : -1;
}

/** A few bytes are there sooner than a call to copy them. */
function copyRun(source: Uint8Array, at: number, target: Uint8Array, to: number, length: number): void {
  if (length > 32) target.set(source.subarray(at, at + length), to);
  else for (let i = 0; i < length; i++) target[to + i] = source[at + i]!;
}
