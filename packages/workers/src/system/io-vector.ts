import type { SystemCalls } from './system-calls.ts';

/*
 * struct iovec, 16 bytes an entry:        struct msghdr, 56 bytes:
 *    0  u64  address                         0  u64  name (0)
 *    8  u64  bytes                           8  u32  bytes of the name (0)
 *                                           16  u64  address of the first iovec
 *                                           24  u64  number of iovecs
 *                                           32  24 bytes for control data and flags (0)
 */
const ENTRY_WORDS = 4;
const HEADER_BYTES = 56;
const WORD = 2 ** 32;

/**
 * Pieces of memory for one vectored call, by address. Built without an allocation: the entries are written
 * into memory that the kernel reads.
 */
export class IoVector {
  /** Address of the `struct msghdr` over what is left. */
  readonly message: number;
  readonly #memory: ArrayBuffer;
  readonly #header: Uint32Array;
  readonly #entries: Uint32Array;
  readonly #entriesAt: number;
  #first = 0;
  #end = 0;
  #bytes = 0;

  /** @param capacity entries; Linux takes at most 1024 in one call */
  constructor(calls: SystemCalls, capacity: number) {
    this.#memory = new ArrayBuffer(64 + capacity * ENTRY_WORDS * 4);
    this.#header = new Uint32Array(this.#memory, 0, HEADER_BYTES / 4);
    this.#entries = new Uint32Array(this.#memory, 64);
    this.message = calls.addressOf(this.#memory);
    this.#entriesAt = this.message + 64;
    this.#point();
  }

  /** Bytes in all that is left. */
  get bytes(): number {
    return this.#bytes;
  }

  clear(): void {
    this.#first = 0;
    this.#end = 0;
    this.#bytes = 0;
    this.#point();
  }

  add(address: number, bytes: number): void {
    const at = this.#end * ENTRY_WORDS;
    const entries = this.#entries;
    // The kernel must never be told of entries that are not there.
    if (at >= entries.length) throw new RangeError('too many pieces for one call');
    entries[at] = address >>> 0;
    entries[at + 1] = Math.floor(address / WORD);
    entries[at + 2] = bytes;
    entries[at + 3] = 0;
    this.#end++;
    this.#bytes += bytes;
    this.#header[6] = this.#end - this.#first;
  }

  /** Leaves out the first `bytes`, which the kernel has moved. */
  advance(bytes: number): void {
    this.#bytes -= bytes;
    if (this.#bytes === 0) {
      this.clear();
      return;
    }
    const entries = this.#entries;
    let left = bytes;
    for (;;) {
      const at = this.#first * ENTRY_WORDS;
      const length = entries[at + 2]!;
      if (left < length) {
        const address = entries[at + 1]! * WORD + entries[at]! + left;
        entries[at] = address >>> 0;
        entries[at + 1] = Math.floor(address / WORD);
        entries[at + 2] = length - left;
        break;
      }
      left -= length;
      this.#first++;
    }
    this.#point();
  }

  #point(): void {
    const address = this.#entriesAt + this.#first * ENTRY_WORDS * 4;
    this.#header[4] = address >>> 0;
    this.#header[5] = Math.floor(address / WORD);
    this.#header[6] = this.#end - this.#first;
  }
}
