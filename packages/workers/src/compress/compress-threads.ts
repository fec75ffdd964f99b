import { type CompressedBatch, type CompressThreads, workerEntry } from '@pageferry/core';
import type { RamBlockMemory } from '@pageferry/core/memory';
import { COMPRESS_BATCH_PAGES, COMPRESS_SLOT_BYTES, CompressSlot } from './compress-slot.ts';
import type { CompressData } from './compress-worker.ts';
import { SlotPool } from './slot-pool.ts';

export interface CompressThreadsOptions {
  /** 1 to 255. */
  readonly threads: number;
  /** 0 to 9. */
  readonly level: number;
  /** Whether zero pages become ZERO records. */
  readonly detectZero: boolean;
}

/** With many threads the batches are smaller: before a section ends all of them are waited for. */
const PAGES_UNDER_WAY = 1024;
const LEAST_BATCH_PAGES = 8;

/** Compress threads over Piscina tasks of up to 64 pages. Nothing is started before `open`. */
export function createCompressThreads(options: CompressThreadsOptions): CompressThreads {
  return new PooledCompressThreads(options);
}

class PooledCompressThreads implements CompressThreads {
  readonly pagesPerSubmit: number;
  readonly failed: Promise<never>;
  pendingPages = 0;
  readonly #options: CompressThreadsOptions;
  readonly #pool: SlotPool;
  readonly #slots: CompressSlot[] = [];
  /** Slots whose records wait to be taken, oldest first. */
  readonly #done: number[] = [];

  constructor(options: CompressThreadsOptions) {
    this.#options = options;
    const { threads } = options;
    const fair = Math.floor(PAGES_UNDER_WAY / threads);
    this.pagesPerSubmit = Math.max(LEAST_BATCH_PAGES, Math.min(fair, COMPRESS_BATCH_PAGES));
    const entry = workerEntry(import.meta.url, './compress-worker');
    this.#pool = new SlotPool({ entry, threads, slotBytes: COMPRESS_SLOT_BYTES, what: 'compress thread' });
    this.failed = this.#pool.failed;
  }

  open(blocks: readonly RamBlockMemory[]): Promise<void> {
    const { level, detectZero } = this.#options;
    const data: CompressData = { blocks, level, detectZero };
    return this.#pool.start(data);
  }

  submit(blockIndex: number, pages: Uint32Array, from: number, end: number): boolean {
    const index = this.#pool.take();
    if (index === undefined) return false;
    this.#slots[index] ??= new CompressSlot(this.#pool.memory, index);
    this.#slots[index].fill(blockIndex, pages, from, end);
    this.pendingPages += end - from;
    this.#pool.run(index, () => this.#done.push(index));
    return true;
  }

  next(): CompressedBatch | undefined {
    const index = this.#done.shift();
    if (index === undefined) return undefined;
    const { records, recordsBytes, zeroPages, count } = this.#slots[index]!;
    // A part of the slot, copied: the slot is free at once, whenever the channel sends it.
    const copy = Buffer.allocUnsafeSlow(recordsBytes);
    records.copy(copy, 0, 0, recordsBytes);
    this.#pool.release(index);
    this.pendingPages -= count;
    return { records: copy, compressedPages: count - zeroPages, zeroPages };
  }

  async done(): Promise<void> {
    if (this.#done.length === 0) await this.#pool.changed();
  }

  end(error?: Error): Promise<void> {
    return this.#pool.end(error);
  }
}
