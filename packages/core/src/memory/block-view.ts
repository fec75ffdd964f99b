import { pagesOf, type RamBlockMemory, TARGET_PAGE_BITS, TARGET_PAGE_BYTES } from './ram-block.ts';
import { ReceivedBitmap } from './received-bitmap.ts';
import { isZeroPage } from './zero-page.ts';

/** Most pages of one call: a packet's. */
const MAX_RUN_PAGES = 128;
/** A window begins at each multiple of this and reaches a run's pages beyond the next. */
const WINDOW_BITS = 30;
const WINDOW_BYTES = 2 ** WINDOW_BITS;
/** From a page to the number of its window, and to the page within it: with 32-bit integers, whatever the page. */
const WINDOW_PAGE_BITS = WINDOW_BITS - TARGET_PAGE_BITS;
const WINDOW_PAGE_MASK = 2 ** WINDOW_PAGE_BITS - 1;
const OVERLAP_BYTES = MAX_RUN_PAGES * TARGET_PAGE_BYTES;

/**
 * A RAM block as the page path reads and writes it, in Node.
 *
 * `Buffer.copy` is twice as fast as `TypedArray.set` on shared memory, but keeps only 32 bits of its offsets:
 * beyond 4 GiB it copies from and to the wrong place without a word. So the block is seen through windows
 * that are smaller, made once. A copy of all of a buffer takes another way inside Node, three times as slow, so
 * sources and targets here are parts of something larger.
 */
export class BlockView {
  readonly name: string;
  readonly pageCount: number;
  /** No page may come for it: its memory is shared with the source. */
  readonly shared: boolean;
  readonly #buffer: SharedArrayBuffer;
  readonly #byteOffset: number;
  readonly #windows: Buffer<SharedArrayBuffer>[] = [];
  readonly #received: ReceivedBitmap | undefined;
  readonly #arrived: Int32Array | undefined;
  /** Of the block's first byte, in pages. */
  #addressPages: number | undefined;

  constructor(memory: RamBlockMemory) {
    this.name = memory.idstr;
    this.pageCount = pagesOf(memory.usedLengthBytes);
    this.#buffer = memory.buffer;
    this.#byteOffset = memory.byteOffset;
    this.shared = memory.shared === true;
    if (memory.arrived !== undefined) this.#arrived = new Int32Array(memory.arrived);
    if (memory.received !== undefined) this.#received = new ReceivedBitmap(this.pageCount, memory.received);
    for (let at = 0; at < memory.usedLengthBytes; at += WINDOW_BYTES) {
      const length = Math.min(WINDOW_BYTES + OVERLAP_BYTES, memory.usedLengthBytes - at);
      this.#windows.push(Buffer.from(memory.buffer, memory.byteOffset + at, length));
    }
  }

  /**
   * Where a page's first byte is in the process, as `addressOf` tells it of the block's memory; it is asked once.
   * Exact, and calculated with numbers that are beyond 32 bits from the first page on: code that was compiled for
   * the first pages of a block serves the last as well.
   */
  pageAddress(page: number, addressOf: (buffer: SharedArrayBuffer) => number): number {
    this.#addressPages ??= (addressOf(this.#buffer) + this.#byteOffset) / TARGET_PAGE_BYTES;
    return (this.#addressPages + page) * TARGET_PAGE_BYTES;
  }

  isZero(page: number): boolean {
    return isZeroPage(this.bytesAround(page), this.startOf(page));
  }

  /**
   * Makes a page zero. Memory that is zero already is not written, so that it stays unpopulated; nor is it read
   * where it is known that nothing has come for the page yet.
   */
  clear(page: number): void {
    if (this.#received !== undefined && !this.#received.has(page)) return;
    if (this.isZero(page)) return;
    const start = this.startOf(page);
    this.bytesAround(page).fill(0, start, start + TARGET_PAGE_BYTES);
  }

  /** Marks pages as received, whoever writes them. */
  markReceived(page: number, count: number): void {
    this.#received?.markRange(page, count);
  }

  /** Notes that something has come for the block, a zero page as well. */
  markArrived(): void {
    if (this.#arrived !== undefined) this.#arrived[0] = 1;
  }

  /** Copies `count` pages (at most 128) to `target` at `targetAt`. */
  copyOut(page: number, count: number, target: Buffer, targetAt: number): void {
    const start = this.startOf(page);
    this.bytesAround(page).copy(target, targetAt, start, start + count * TARGET_PAGE_BYTES);
  }

  /** Copies `count` pages (at most 128) from `source` at `sourceAt`. */
  copyIn(source: Buffer, sourceAt: number, page: number, count: number): void {
    source.copy(this.bytesAround(page), this.startOf(page), sourceAt, sourceAt + count * TARGET_PAGE_BYTES);
  }

  /** A stretch of the block that a page lies in, at `startOf` of that page. */
  bytesAround(page: number): Buffer<SharedArrayBuffer> {
    return this.#windows[page >>> WINDOW_PAGE_BITS]!;
  }

  startOf(page: number): number {
    return (page & WINDOW_PAGE_MASK) << TARGET_PAGE_BITS;
  }

  /** The pages themselves, from `skipBytes` on. */
  view(page: number, count: number, skipBytes = 0): Buffer<SharedArrayBuffer> {
    const at = this.#byteOffset + page * TARGET_PAGE_BYTES + skipBytes;
    return Buffer.from(this.#buffer, at, count * TARGET_PAGE_BYTES - skipBytes);
  }
}

/** How many of `pages[from..end)` follow each other in memory. */
export function runLength(pages: Uint32Array, from: number, end: number): number {
  let next = from + 1;
  while (next < end && pages[next] === pages[next - 1]! + 1) next++;
  return next - from;
}
