import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';

/** What a block's pages are. The three counts add up to the block's pages. */
export interface PageCounts {
  zeroPages: number;
  /** Non-zero pages whose content was not seen before, in block order and then page order. */
  uniquePages: number;
  /** Non-zero pages with the content of an earlier one, in whichever block. */
  duplicatePages: number;
}

const PAGE_WORDS = TARGET_PAGE_BYTES / 4;
/** Pages whose hashes are allocated together: 32 KiB of memory for 16 MiB of guest. */
const CHUNK_PAGES = 4096;

/**
 * Counts equal pages without holding them: 8 bytes of hash per page, allocated only where a block has
 * non-zero pages, so that a small file that announces huge blocks costs nothing. A page may be recorded again; the last content counts.
 */
export class PageCensus {
  readonly #blocks: readonly { readonly pageCount: number; readonly chunks: (Uint32Array | undefined)[] }[];
  readonly #words = new Uint32Array(PAGE_WORDS);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  readonly #hash = new Uint32Array(2);

  constructor(pageCounts: readonly number[]) {
    this.#blocks = pageCounts.map((pageCount) => ({ pageCount, chunks: [] }));
  }

  /** Records the content of a page. */
  record(block: number, page: number, content: Uint8Array): void {
    // The hash reads words; page data in a stream has any alignment.
    this.#bytes.set(content);
    const zero = hashPage(this.#words, this.#hash);
    if (zero) this.recordZero(block, page);
    else this.#store(block, page, this.#hash[0]!, this.#hash[1]!);
  }

  recordZero(block: number, page: number): void {
    const chunk = this.#blocks[block]!.chunks[Math.floor(page / CHUNK_PAGES)];
    if (chunk === undefined) return;
    const at = (page % CHUNK_PAGES) * 2;
    chunk[at] = 0;
    chunk[at + 1] = 0;
  }

  #store(block: number, page: number, low: number, high: number): void {
    const { chunks } = this.#blocks[block]!;
    const index = Math.floor(page / CHUNK_PAGES);
    chunks[index] ??= new Uint32Array(CHUNK_PAGES * 2);
    const at = (page % CHUNK_PAGES) * 2;
    // Both words zero stand for a zero page.
    chunks[index][at] = low === 0 && high === 0 ? 1 : low;
    chunks[index][at + 1] = high;
  }

  /** The counts per block, in the order given to the constructor. */
  count(): PageCounts[] {
    const seen = new HashSet();
    return this.#blocks.map(({ pageCount, chunks }) => {
      let uniquePages = 0;
      let duplicatePages = 0;
      for (const chunk of chunks) {
        if (chunk === undefined) continue;
        for (let at = 0; at < chunk.length; at += 2) {
          const low = chunk[at]!;
          const high = chunk[at + 1]!;
          if (low === 0 && high === 0) continue;
          if (seen.add(low, high)) uniquePages++;
          else duplicatePages++;
        }
      }
      return { zeroPages: pageCount - uniquePages - duplicatePages, uniquePages, duplicatePages };
    });
  }
}

/** Open-addressing set of 64-bit values other than zero. */
class HashSet {
  #slots = new Uint32Array(2 * 1024);
  #size = 0;

  /** Returns false when the value is already there. */
  add(low: number, high: number): boolean {
    if (this.#size * 4 > this.#slots.length) this.#grow();
    const added = insert(this.#slots, low, high);
    if (added) this.#size++;
    return added;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(old.length * 2);
    for (let at = 0; at < old.length; at += 2) {
      if (old[at] !== 0 || old[at + 1] !== 0) insert(this.#slots, old[at]!, old[at + 1]!);
    }
  }
}

function insert(slots: Uint32Array, low: number, high: number): boolean {
  const mask = slots.length - 1;
  for (let at = (low * 2) & mask; ; at = (at + 2) & mask) {
    if (slots[at] === low && slots[at + 1] === high) return false;
    if (slots[at] === 0 && slots[at + 1] === 0) {
      slots[at] = low;
      slots[at + 1] = high;
      return true;
    }
  }
}

/**
 * 64 bits of a page's content, four lanes; for counting, not against somebody who
 * wants pages to collide. Returns whether the page is all zeros.
 */
function hashPage(words: Uint32Array, into: Uint32Array): boolean {
  let a = 0x9747b28c;
  let b = 0x3c6ef372;
  let c = 0x1b873593;
  let d = 0x5bd1e995;
  let any = 0;
  for (let i = 0; i < PAGE_WORDS; i += 4) {
    const w = words[i]!;
    const x = words[i + 1]!;
    const y = words[i + 2]!;
    const z = words[i + 3]!;
    any |= w | x | y | z;
    // Each lane takes in its neighbour, so that pages that differ in one lane only still differ in 128 bits.
    a = (Math.imul(((a << 13) | (a >>> 19)) ^ w, 0x9e3779b1) + d) | 0;
    b = (Math.imul(((b << 13) | (b >>> 19)) ^ x, 0x85ebca77) + a) | 0;
    c = (Math.imul(((c << 13) | (c >>> 19)) ^ y, 0xc2b2ae3d) + b) | 0;
    d = (Math.imul(((d << 13) | (d >>> 19)) ^ z, 0x27d4eb2f) + c) | 0;
  }
  into[0] = mix(a ^ mix(b ^ mix(c ^ mix(d))));
  into[1] = mix(d ^ mix(c + mix(a ^ mix(b + 0x7f4a7c15))));
  return any === 0;
}

/** Spreads every bit of a 32-bit value over all bits. */
function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
