import { DirtyBitmap } from './dirty-bitmap.ts';

/**
 * Which pages of a block a destination has been given, in shared memory: every channel's thread marks
 * what it has placed.
 */
export class ReceivedBitmap {
  readonly #bits: DirtyBitmap;

  /** Over `buffer` as it is, or over a new buffer with nothing received. */
  constructor(pageCount: number, buffer?: SharedArrayBuffer) {
    this.#bits = new DirtyBitmap(pageCount, buffer);
  }

  get pageCount(): number {
    return this.#bits.pageCount;
  }

  get buffer(): SharedArrayBuffer {
    return this.#bits.buffer;
  }

  /** Marks a page as received; true when this is the first time. */
  mark(page: number): boolean {
    return this.#bits.set(page);
  }

  markRange(first: number, count: number): void {
    this.#bits.setRange(first, count);
  }

  /** Takes pages back (a source that discards them); returns how many had been received. */
  discardRange(first: number, count: number): number {
    return this.#bits.testAndClearRange(first, count);
  }

  has(page: number): boolean {
    return this.#bits.test(page);
  }

  /** The first page at or after `from` that was not received, or -1. */
  nextMissing(from: number): number {
    return this.#bits.nextClear(from);
  }

  /** Pages received. */
  count(): number {
    return this.#bits.count();
  }
}
