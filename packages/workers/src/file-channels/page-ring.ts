import { MULTIFD_PAGES_PER_PACKET } from '@pageferry/core/wire';
import { type ChannelCells, QUEUED, SLOTS_AT, TAKEN } from '../channels/channel-cells.ts';

/*
 * Behind the words of a `ChannelCells`:
 *    0  i32       jobs checked so far                 the ring's own thread
 *   64  slots of 528 bytes:
 *         0  u32       1: nothing more comes          coordinator
 *         4  u32       index of the block             coordinator
 *         8  u32       pages                          coordinator, then the ring's own thread
 *        12  u32       zero pages among them          the ring's own thread
 *        16  u32[128]  page numbers                   coordinator, then the ring's own thread
 */
const CHECKED_AT = SLOTS_AT;
const FIRST_SLOT_AT = SLOTS_AT + 64;
const HEAD_WORDS = 4;
const SLOT_WORDS = HEAD_WORDS + MULTIFD_PAGES_PER_PACKET;

/** 16 MiB of pages: waking the coordinator is rare, and a page is written soon after it was found dirty. */
const SLOTS = 32;
/** For `ChannelCells.create`. */
export const PAGE_RING_BYTES = 64 + SLOTS * SLOT_WORDS * 4;

/** A job in its slot. */
export class PageJob {
  readonly #head: Uint32Array;
  /** Page numbers, ascending; `count` of them count. */
  readonly pages: Uint32Array;

  constructor(buffer: SharedArrayBuffer, at: number) {
    this.#head = new Uint32Array(buffer, at, HEAD_WORDS);
    this.pages = new Uint32Array(buffer, at + HEAD_WORDS * 4, MULTIFD_PAGES_PER_PACKET);
  }

  get isEnd(): boolean {
    return this.#head[0] === 1;
  }

  get block(): number {
    return this.#head[1]!;
  }

  /** Pages to write; before the check those that may be zero are among them. */
  get count(): number {
    return this.#head[2]!;
  }

  get zeroPages(): number {
    return this.#head[3]!;
  }

  set(isEnd: boolean, block: number, count: number): void {
    this.#head[0] = isEnd ? 1 : 0;
    this.#head[1] = block;
    this.#head[2] = count;
    this.#head[3] = 0;
  }

  /** What the check left. */
  setChecked(count: number, zeroPages: number): void {
    this.#head[2] = count;
    this.#head[3] = zeroPages;
  }
}

/**
 * Jobs of one thread on their way through three hands: the coordinator pushes them, the ring's own thread
 * checks them for zero pages, and whoever writes the file at the time takes them. Nobody waits here.
 */
export class PageRing {
  readonly cells: ChannelCells;
  readonly #checked: Int32Array;
  readonly #jobs: PageJob[] = [];

  constructor(cells: ChannelCells) {
    this.cells = cells;
    this.#checked = new Int32Array(cells.buffer, CHECKED_AT, 1);
    for (let slot = 0; slot < SLOTS; slot++) {
      this.#jobs.push(new PageJob(cells.buffer, FIRST_SLOT_AT + slot * SLOT_WORDS * 4));
    }
  }

  /** Jobs that are not written yet. */
  get length(): number {
    const { words } = this.cells;
    return (Atomics.load(words, QUEUED) - Atomics.load(words, TAKEN)) | 0;
  }

  /** Whether it is at most half full: worth waking a waiting producer for. */
  get hasRoom(): boolean {
    return this.length <= SLOTS / 2;
  }

  /** Queues pages and wakes the ring's thread. Returns false, having done nothing, when the ring is full. */
  push(block: number, pages: Uint32Array, count: number): boolean {
    if (this.length >= SLOTS) return false;
    const job = this.#next(QUEUED);
    const target = job.pages;
    for (let i = 0; i < count; i++) target[i] = pages[i]!;
    job.set(false, block, count);
    this.#publish();
    return true;
  }

  /** Queues the end; as `push`. */
  pushEnd(): boolean {
    if (this.length >= SLOTS) return false;
    this.#next(QUEUED).set(true, 0, 0);
    this.#publish();
    return true;
  }

  /** The oldest job that was not checked; undefined when there is none. */
  unchecked(): PageJob | undefined {
    const checked = Atomics.load(this.#checked, 0);
    if (checked === Atomics.load(this.cells.words, QUEUED)) return undefined;
    return this.#jobs[(checked >>> 0) % SLOTS];
  }

  /** Hands the checked job on. */
  setChecked(): void {
    Atomics.store(this.#checked, 0, (Atomics.load(this.#checked, 0) + 1) | 0);
  }

  /** The oldest job that was checked and not written; undefined when there is none. */
  checked(): PageJob | undefined {
    if (Atomics.load(this.cells.words, TAKEN) === Atomics.load(this.#checked, 0)) return undefined;
    return this.#next(TAKEN);
  }

  /** Frees the written job's slot. Returns true when the ring has just become half empty. */
  shift(): boolean {
    const { words } = this.cells;
    Atomics.store(words, TAKEN, (Atomics.load(words, TAKEN) + 1) | 0);
    return this.length === SLOTS / 2;
  }

  #next(index: number): PageJob {
    return this.#jobs[(Atomics.load(this.cells.words, index) >>> 0) % SLOTS]!;
  }

  /** The store publishes the slot. */
  #publish(): void {
    const { words, workerBell } = this.cells;
    Atomics.store(words, QUEUED, (Atomics.load(words, QUEUED) + 1) | 0);
    workerBell.ring();
  }
}
