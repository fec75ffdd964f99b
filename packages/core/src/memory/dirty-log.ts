import { MigrationError } from '../error.ts';
import { DirtyBitmap } from './dirty-bitmap.ts';
import { type RamBlockMemory, TARGET_PAGE_BYTES } from './ram-block.ts';

/**
 * Where dirty pages are recorded.
 * - `none`: RAM never changes.
 * - `write-barrier`: one bitmap per block, in block order: Uint32 words, bit p%32 of word p/32 is page p.
 *   A writer marks the page *after* writing it, and never stops between a write and its mark.
 */
export type DirtyLogMemory =
  | { readonly kind: 'none' }
  | { readonly kind: 'write-barrier'; readonly bitmaps: readonly SharedArrayBuffer[] };

/** The source's view of the pages that a guest has written. */
export interface DirtyLog {
  /** Begins: what was written before is forgotten, so the caller holds every page as dirty from here on. */
  start(): void;
  /**
   * Adds the pages of a block whose writes are still marked to `into`, and returns how many of them were not in it.
   * The marks stay until `clear`. After the guest has stopped, one more sync has everything.
   */
  sync(blockIndex: number, into: DirtyBitmap): number;
  /**
   * Forgets the writes to those of `count` pages from `first` that are in `pending`: they are read after this, and
   * only then. What was written to other pages stays marked.
   */
  clear(blockIndex: number, first: number, count: number, pending: DirtyBitmap): void;
  stop(): void;
}

/** The log of a guest's memory; `blocks` are the guest's, in order.
 * @throws MigrationError `bad-option` when there is not one bitmap of the right size for each block. */
export function openDirtyLog(memory: DirtyLogMemory, blocks: readonly RamBlockMemory[]): DirtyLog {
  switch (memory.kind) {
    case 'none':
      return new NoDirtyLog();
    case 'write-barrier':
      return new WriteBarrierLog(memory.bitmaps, blocks);
  }
}

class NoDirtyLog implements DirtyLog {
  start(): void {}
  sync(): number {
    return 0;
  }
  clear(): void {}
  stop(): void {}
}

class WriteBarrierLog implements DirtyLog {
  readonly #logs: readonly DirtyBitmap[];

  constructor(bitmaps: readonly SharedArrayBuffer[], blocks: readonly RamBlockMemory[]) {
    if (bitmaps.length !== blocks.length) {
      throw new MigrationError('bad-option', 'the dirty log needs one bitmap per RAM block', {
        found: String(bitmaps.length),
        expected: String(blocks.length),
      });
    }
    this.#logs = blocks.map(
      (block, index) => new DirtyBitmap(block.usedLengthBytes / TARGET_PAGE_BYTES, bitmaps[index]),
    );
  }

  start(): void {
    for (const log of this.#logs) log.clearAll();
  }

  sync(blockIndex: number, into: DirtyBitmap): number {
    return into.addFrom(this.#log(blockIndex));
  }

  clear(blockIndex: number, first: number, count: number, pending: DirtyBitmap): void {
    this.#log(blockIndex).clearSetIn(pending, first, count);
  }

  #log(blockIndex: number): DirtyBitmap {
    const log = this.#logs[blockIndex];
    if (log === undefined) throw new MigrationError('internal', `the dirty log has no block ${blockIndex}`);
    return log;
  }

  // The barrier marks always: it costs one atomic instruction per write, less than asking whether to.
  stop(): void {}
}
