import { MULTIFD_PAGES_PER_PACKET } from '@pageferry/core/wire';
import { type ChannelCells, QUEUED, SLOTS_AT, TAKEN } from './channel-cells.ts';

/** What a job asks of a sending channel. */
export const JobKind = {
  /** Send these pages of a block in one packet. */
  pages: 0,
  /** Send a SYNC packet. */
  sync: 1,
  /** Send nothing more: flush and close. */
  end: 2,
} as const;
export type JobKind = (typeof JobKind)[keyof typeof JobKind];

/*
 * A slot, 528 bytes:
 *    0  u32       kind
 *    4  u32       index of the block
 *    8  u32       pages
 *   16  u32[128]  page numbers
 */
const HEAD_WORDS = 4;
const SLOT_WORDS = HEAD_WORDS + MULTIFD_PAGES_PER_PACKET;

/**
 * Jobs of one channel in shared memory: one thread pushes, another takes (`peek` and `shift`), neither waits here.
 * Where other channels' threads may take pages as well, all of them `claim` and `steal`. 32 packets are
 * 16 MiB of pages: enough that waking the coordinator is rare, and little enough that a page is not sent long
 * after it was found dirty.
 */
const SLOTS = 32;
/** More claims than this between a claim and the look at the length are made up for when the ring is empty. */
const CLAIMS_AT_ONCE = 4;
export const JOB_RING_BYTES = SLOTS * SLOT_WORDS * 4;

export class JobRing {
  readonly #cells: ChannelCells;
  readonly #slots: Uint32Array;
  /** The page numbers of each slot. */
  readonly #pages: Uint32Array[] = [];

  constructor(cells: ChannelCells) {
    this.#cells = cells;
    this.#slots = new Uint32Array(cells.buffer, SLOTS_AT, SLOTS * SLOT_WORDS);
    for (let slot = 0; slot < SLOTS; slot++) {
      this.#pages.push(this.#slots.subarray(slot * SLOT_WORDS + HEAD_WORDS, (slot + 1) * SLOT_WORDS));
    }
  }

  /** Jobs that wait to be taken. */
  get length(): number {
    const { words } = this.#cells;
    return (Atomics.load(words, QUEUED) - Atomics.load(words, TAKEN)) | 0;
  }

  /** Whether it is at most half full: worth waking a waiting producer for. */
  get hasRoom(): boolean {
    return this.length <= SLOTS / 2;
  }

  /** Queues a job and wakes the worker. Returns false, having done nothing, when the ring is full. */
  push(kind: JobKind, block = 0, pages?: Uint32Array, count = 0): boolean {
    if (this.length >= SLOTS) return false;
    const { words } = this.#cells;
    const queued = Atomics.load(words, QUEUED);
    const at = (queued >>> 0) % SLOTS;
    const base = at * SLOT_WORDS;
    this.#slots[base] = kind;
    this.#slots[base + 1] = block;
    this.#slots[base + 2] = count;
    const target = this.#pages[at]!;
    if (pages !== undefined) for (let i = 0; i < count; i++) target[i] = pages[i]!;
    // The store publishes the slot.
    Atomics.store(words, QUEUED, (queued + 1) | 0);
    this.#cells.workerBell.ring();
    return true;
  }

  /** The oldest job into `job`; it stays until `shift`. Returns false when there is none. */
  peek(job: Job): boolean {
    if (this.length === 0) return false;
    const at = (Atomics.load(this.#cells.words, TAKEN) >>> 0) % SLOTS;
    const base = at * SLOT_WORDS;
    job.kind = this.#slots[base] as JobKind;
    job.block = this.#slots[base + 1]!;
    job.count = this.#slots[base + 2]!;
    job.pages = this.#pages[at]!;
    return true;
  }

  /** Frees the oldest job's slot. Returns true when the ring has just become half empty. */
  shift(): boolean {
    const { words } = this.#cells;
    Atomics.store(words, TAKEN, (Atomics.load(words, TAKEN) + 1) | 0);
    return this.length === SLOTS / 2;
  }

  /**
   * Takes the oldest job if it is one of pages, by copying it to `job`.
   *
   * @param least jobs that must be there
   */
  claim(job: Job, least = 1): boolean {
    const { words } = this.#cells;
    for (;;) {
      const taken = Atomics.load(words, TAKEN);
      if (((Atomics.load(words, QUEUED) - taken) | 0) < least) return false;
      if (!this.#copy(taken, job)) return false;
      // A slot is written again only after it was taken, so a copy that counts is whole.
      if (Atomics.compareExchange(words, TAKEN, taken, (taken + 1) | 0) === taken) return true;
    }
  }

  /**
   * As `claim`, by the thread of another channel that has sent `syncs` SYNC packets. It may take no page from behind
   * a SYNC that it has not sent itself, nor from before one that it has: the destination would place an old page
   * after a new one.
   */
  steal(job: Job, syncs: number, least: number): boolean {
    const { words } = this.#cells;
    const taken = Atomics.load(words, TAKEN);
    if (((Atomics.load(words, QUEUED) - taken) | 0) < least) return false;
    // The owner counts a SYNC before it takes it: while `taken` stands, this count is that of the job.
    if (this.#cells.syncs !== syncs || !this.#copy(taken, job)) return false;
    return Atomics.compareExchange(words, TAKEN, taken, (taken + 1) | 0) === taken;
  }

  /** Whether it has become half empty by one of the last few claims: worth waking a waiting producer for. */
  get isHalfEmpty(): boolean {
    const { length } = this;
    return length <= SLOTS / 2 && length > SLOTS / 2 - CLAIMS_AT_ONCE;
  }

  #copy(taken: number, job: Job): boolean {
    const at = (taken >>> 0) % SLOTS;
    const base = at * SLOT_WORDS;
    if (this.#slots[base] !== JobKind.pages) return false;
    job.block = this.#slots[base + 1]!;
    job.count = Math.min(this.#slots[base + 2]!, MULTIFD_PAGES_PER_PACKET);
    const pages = this.#pages[at]!;
    for (let i = 0; i < job.count; i++) job.pages[i] = pages[i]!;
    return true;
  }
}

/** A job with memory of its own for the pages, for `claim` and `steal`. */
export function createOwnJob(): Job {
  return { kind: JobKind.pages, block: 0, count: 0, pages: new Uint32Array(MULTIFD_PAGES_PER_PACKET) };
}

/** A job as `peek` shows it; `pages` is a view of the slot, valid until `shift`. */
export interface Job {
  kind: JobKind;
  block: number;
  count: number;
  pages: Uint32Array;
}

export function createJob(): Job {
  return { kind: JobKind.pages, block: 0, count: 0, pages: new Uint32Array(0) };
}
