import { Bell } from './bell.ts';
import { SharedPrice } from './shared-price.ts';

/*
 * Shared memory of all channels of one side together:
 *
 *    0  i32  bell of the coordinator       workers
 *    4  i32  1: end at once                coordinator
 *    8  i32  packets numbered so far       sending workers
 *   12  i32  bell of the receiving workers: a sync was released   coordinator
 *   16  i32  sync rounds released so far   coordinator
 *   20  i32  1: no more pages              coordinator
 *   24  i32  16 bytes sent so far, times   sending workers
 *   28  i32  limit of all channels together, bytes per ms; 0: none   coordinator
 *   32  i32  price of a byte under that limit: see SharedPrice   sending workers
 */

const COORDINATOR_BELL = 0;
const CANCELLED = 1;
const PACKETS = 2;
const RELEASE_BELL = 3;
const RELEASED = 4;
const SEALED = 5;
const SENT = 6;
const LIMIT = 7;
const PRICE = 8;
const WORDS = 9;
const SENT_UNIT_BYTES = 16;

/** The words that the coordinator and all its channel workers share. */
export class PoolWords {
  readonly buffer: SharedArrayBuffer;
  readonly coordinatorBell: Bell;
  /** Rung on `release`, `seal` and `cancel`; only receiving workers listen. */
  readonly releaseBell: Bell;
  readonly price: SharedPrice;
  readonly #words: Int32Array;
  #sentSeen = 0;
  #sentBytes = 0;

  constructor(buffer = new SharedArrayBuffer(4 * WORDS)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.coordinatorBell = new Bell(this.#words, COORDINATOR_BELL);
    this.releaseBell = new Bell(this.#words, RELEASE_BELL);
    this.price = new SharedPrice(this.#words, PRICE);
  }

  get cancelled(): boolean {
    return Atomics.load(this.#words, CANCELLED) !== 0;
  }

  cancel(): void {
    Atomics.store(this.#words, CANCELLED, 1);
    Atomics.notify(this.#words, CANCELLED);
    this.releaseBell.ring();
  }

  /** Resolves when the channels are cancelled. */
  async untilCancelled(): Promise<void> {
    const waiting = Atomics.waitAsync(this.#words, CANCELLED, 0);
    if (waiting.async) await waiting.value;
  }

  /** The next packet number, over all channels. */
  nextPacketNumber(): number {
    return Atomics.add(this.#words, PACKETS, 1) >>> 0;
  }

  /** Counts bytes that this channel has sent. */
  countSent(bytes: number): void {
    Atomics.add(this.#words, SENT, Math.round(bytes / SENT_UNIT_BYTES));
  }

  /** Bytes that all channels have sent. To be asked for more often than every 64 GiB. */
  get sentBytes(): number {
    const sent = Atomics.load(this.#words, SENT);
    this.#sentBytes += ((sent - this.#sentSeen) >>> 0) * SENT_UNIT_BYTES;
    this.#sentSeen = sent;
    return this.#sentBytes;
  }

  /** What all channels may send together, bytes per ms; undefined: no limit. */
  get limitBytesPerMs(): number | undefined {
    return Atomics.load(this.#words, LIMIT) || undefined;
  }

  set limitBytesPerMs(value: number | undefined) {
    const limit = value === undefined ? 0 : Math.min(2 ** 31 - 1, Math.max(1, Math.round(value)));
    Atomics.store(this.#words, LIMIT, limit);
  }

  get released(): number {
    return Atomics.load(this.#words, RELEASED);
  }

  release(rounds: number): void {
    Atomics.store(this.#words, RELEASED, rounds);
    this.releaseBell.ring();
  }

  /** Whether the guest's memory is complete: pages that come now are an error. */
  get sealed(): boolean {
    return Atomics.load(this.#words, SEALED) !== 0;
  }

  seal(): void {
    Atomics.store(this.#words, SEALED, 1);
    this.release(2 ** 31 - 1);
  }
}
