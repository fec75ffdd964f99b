import { type DecompressThreads, workerEntry } from '@pageferry/core';
import type { RamBlockMemory } from '@pageferry/core/memory';
import { DECOMPRESS_SLOT_BYTES, DecompressSlot } from './decompress-slot.ts';
import type { DecompressData } from './decompress-worker.ts';
import { SlotPool } from './slot-pool.ts';

/**
 * Decompress threads over Piscina tasks, a batch of pages each. Nothing is started before `open`.
 * @param threads 1 to 255
 */
export function createDecompressThreads(threads: number): DecompressThreads {
  return new PooledDecompressThreads(threads);
}

/** Pages of a block are below 2^32: a page's number and its block are one key. */
const BLOCK_STRIDE = 2 ** 32;

class PooledDecompressThreads implements DecompressThreads {
  readonly failed: Promise<never>;
  readonly #pool: SlotPool;
  readonly #slots: DecompressSlot[] = [];
  /** The slot that is being filled. */
  #filling: number | undefined;
  /** Pages in slots. */
  readonly #held = new Set<number>();

  constructor(threads: number) {
    const entry = workerEntry(import.meta.url, './decompress-worker');
    this.#pool = new SlotPool({
      entry,
      threads,
      slotBytes: DECOMPRESS_SLOT_BYTES,
      what: 'decompress thread',
    });
    this.failed = this.#pool.failed;
  }

  open(blocks: readonly RamBlockMemory[], checkErrors: boolean): Promise<void> {
    const data: DecompressData = { blocks, checkErrors };
    return this.#pool.start(data);
  }

  add(blockIndex: number, pageIndex: number, bytes: Uint8Array, offset: number): boolean {
    this.#filling ??= this.#takeSlot();
    if (this.#filling === undefined) return false;
    const slot = this.#slots[this.#filling]!;
    slot.add(blockIndex, pageIndex, bytes, offset);
    this.#held.add(blockIndex * BLOCK_STRIDE + pageIndex);
    if (slot.isFull) this.#run();
    return true;
  }

  holds(blockIndex: number, pageIndex: number): boolean {
    return this.#held.size > 0 && this.#held.has(blockIndex * BLOCK_STRIDE + pageIndex);
  }

  drained(): Promise<void> {
    return this.#pool.changed();
  }

  async finished(): Promise<void> {
    this.#run();
    while (this.#held.size > 0) await this.#pool.changed();
  }

  end(error?: Error): Promise<void> {
    return this.#pool.end(error);
  }

  #takeSlot(): number | undefined {
    const index = this.#pool.take();
    if (index === undefined) return undefined;
    this.#slots[index] ??= new DecompressSlot(this.#pool.memory, index);
    this.#slots[index].clear();
    return index;
  }

  #run(): void {
    const index = this.#filling;
    if (index === undefined) return;
    this.#filling = undefined;
    this.#pool.run(index, () => {
      const { count, blocks, pages } = this.#slots[index]!;
      for (let i = 0; i < count; i++) this.#held.delete(blocks[i]! * BLOCK_STRIDE + pages[i]!);
      this.#pool.release(index);
    });
  }
}
