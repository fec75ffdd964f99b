import type { GuestMemory } from '../guest/contract.ts';
import { DirtyBitmap } from '../memory/dirty-bitmap.ts';
import { type DirtyLog, openDirtyLog } from '../memory/dirty-log.ts';
import { RamBlock, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';

/**
 * Which pages are still to be sent, and in which order: the scan over all blocks, and the merge of the
 * guest's dirty log into the migration's own bitmaps.
 *
 * A bit is cleared when its page is handed out, that is before the page is read: a write after that sets
 * it again in the log.
 */
export class RamIteration {
  readonly blocks: readonly RamBlock[];
  readonly totalBytes: number;
  /** Pages that are set in the bitmaps now. */
  dirtyPages = 0;
  dirtySyncCount = 0;
  /** Pages found newly dirty by all syncs but the first. */
  dirtiedPages = 0;
  /** Block of the run that `next` gave last. */
  blockIndex = 0;
  readonly #bitmaps: DirtyBitmap[];
  readonly #log: DirtyLog;
  readonly #onPass: (pass: number) => void;
  #page = 0;

  /** @param onPass told the number of each sync, from 1 */
  constructor(memory: GuestMemory, onPass: (pass: number) => void = () => {}) {
    this.#onPass = onPass;
    this.blocks = memory.blocks.map((block) => new RamBlock(block));
    this.totalBytes = this.blocks.reduce((sum, block) => sum + block.usedLengthBytes, 0);
    this.#bitmaps = this.blocks.map((block) => new DirtyBitmap(block.pageCount));
    this.#log = openDirtyLog(memory.dirtyLog, this.blocks);
  }

  /** Starts logging, and then marks every page: a page written before the mark is sent anyway. */
  start(): void {
    this.#log.start();
    for (const bitmap of this.#bitmaps) {
      bitmap.setAll();
      this.dirtyPages += bitmap.pageCount;
    }
    this.dirtySyncCount = 1;
    this.#onPass(1);
  }

  stop(): void {
    this.#log.stop();
  }

  /** Fetches what the guest wrote since the last sync. Returns how many pages were not dirty before. */
  sync(): number {
    let fresh = 0;
    for (const [index, bitmap] of this.#bitmaps.entries()) fresh += this.#log.sync(index, bitmap);
    this.dirtyPages += fresh;
    this.dirtiedPages += fresh;
    this.dirtySyncCount++;
    this.#onPass(this.dirtySyncCount);
    return fresh;
  }

  get dirtyBytes(): number {
    return this.dirtyPages * TARGET_PAGE_BYTES;
  }

  /**
   * The next dirty pages of one block, in ascending order, into `pages`; their block is `blockIndex`.
   * @returns how many; 0 at the end of the last block: the next call starts over with the first
   */
  next(pages: Uint32Array, most: number): number {
    while (this.blockIndex < this.blocks.length) {
      const count = this.#bitmaps[this.blockIndex]!.takeRun(this.#page, most, pages);
      if (count > 0) {
        this.#page = pages[count - 1]! + 1;
        this.dirtyPages -= count;
        return count;
      }
      this.blockIndex++;
      this.#page = 0;
    }
    this.blockIndex = 0;
    return 0;
  }
}
