import type { ChannelStats } from '@pageferry/core';
import { Bell } from './bell.ts';

/*
 * Shared memory of one channel. Each word and each counter has one writer, but for the jobs that another channel's
 * worker takes over.
 *
 *     0  i32     state                                       worker
 *     4  i32     bell of the worker: something to do          coordinator
 *     8  i32     jobs queued (JobRing)                        coordinator
 *    12  i32     jobs taken (JobRing)                         worker
 *    16  i32     jobs whose bytes were handed to the kernel   worker
 *    20  i32     jobs that a flush waits for                  coordinator
 *    24  i32     SYNC packets read or sent                    worker
 *    28  i32     1: pages came after the last SYNC            worker
 *    64  f64[5]  bytes, packets, normal pages, zero pages, stalled ms   worker
 *   128  ...     slots of the JobRing (senders only)
 */

const STATE = 0;
const WORKER_BELL = 1;
export const QUEUED = 2;
export const TAKEN = 3;
const COMPLETED = 4;
const FLUSH_TARGET = 5;
const SYNCS = 6;
const PLACING = 7;
const COUNTERS_AT = 64;
/** Where the JobRing's slots begin. */
export const SLOTS_AT = 128;

/** What a channel's worker has come to. */
const ChannelState = {
  starting: 0,
  /** Receiver: the thread has taken its connection. Sender: it is connected and the handshake was sent. */
  open: 1,
} as const;

/** A channel's words and counters in shared memory. */
export class ChannelCells {
  readonly buffer: SharedArrayBuffer;
  readonly words: Int32Array;
  /** Wakes the channel's worker. */
  readonly workerBell: Bell;
  readonly #counters: Float64Array;

  /** @param slotBytes room for the slots of a JobRing */
  static create(slotBytes = 0): ChannelCells {
    return new ChannelCells(new SharedArrayBuffer(SLOTS_AT + slotBytes));
  }

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer, 0, COUNTERS_AT / 4);
    this.#counters = new Float64Array(buffer, COUNTERS_AT, 5);
    this.workerBell = new Bell(this.words, WORKER_BELL);
  }

  get isOpen(): boolean {
    return Atomics.load(this.words, STATE) === ChannelState.open;
  }

  setOpen(): void {
    Atomics.store(this.words, STATE, ChannelState.open);
  }

  /** Jobs done since the start; wraps at 2^32, as `queued` does. */
  get completed(): number {
    return Atomics.load(this.words, COMPLETED);
  }

  get queued(): number {
    return Atomics.load(this.words, QUEUED);
  }

  /** Counts a job as done. Returns true when a flush waited for this one. */
  complete(): boolean {
    const completed = (Atomics.add(this.words, COMPLETED, 1) + 1) | 0;
    return completed === Atomics.load(this.words, FLUSH_TARGET);
  }

  /** Whether everything up to `target` (a value of `queued`) is done; asks for a ring when it will be. */
  isFlushed(target: number): boolean {
    // Only forward: another flush may wait for a later job.
    if (((target - Atomics.load(this.words, FLUSH_TARGET)) | 0) > 0)
      Atomics.store(this.words, FLUSH_TARGET, target);
    return ((this.completed - target) | 0) >= 0;
  }

  /** SYNC packets read, or sent, since the start. */
  get syncs(): number {
    return Atomics.load(this.words, SYNCS);
  }

  /** Whether pages have been placed since the last SYNC. */
  get isPlacing(): boolean {
    return Atomics.load(this.words, PLACING) === 1;
  }

  setPlacing(placing: boolean): void {
    Atomics.store(this.words, PLACING, placing ? 1 : 0);
  }

  countSync(): number {
    return Atomics.add(this.words, SYNCS, 1) + 1;
  }

  count(bytes: number, packets: number, normalPages: number, zeroPages: number): void {
    const counters = this.#counters;
    counters[0]! += bytes;
    counters[1]! += packets;
    counters[2]! += normalPages;
    counters[3]! += zeroPages;
  }

  set stalledMs(value: number) {
    this.#counters[4] = value;
  }

  get bytes(): number {
    return this.#counters[0]!;
  }

  stats(channel: number): ChannelStats {
    const [bytes, packets, normalPages, zeroPages, stalledMs] = this.#counters as unknown as Five;
    return { channel, bytes, packets, normalPages, zeroPages, stalledMs };
  }
}

type Five = readonly [number, number, number, number, number];
