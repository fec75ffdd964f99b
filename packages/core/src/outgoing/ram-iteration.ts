import type { GuestMemory } from '../guest/contract.ts';
import { CLEAR_BITMAP_SHIFT_DEFAULT, ClearBitmap } from '../memory/clear-bitmap.ts';
import { DirtyBitmap } from '../memory/dirty-bitmap.ts';
import { type DirtyLog, openDirtyLog } from '../memory/dirty-log.ts';
import { RamBlock, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';

/**
 * Which pages are still to be sent, and in which order: the scan over all blocks, and the merge of the
 * guest's dirty log into the migration's own bitmaps.
 *
 * A bit is cleared when its page is handed out, that is before the page is read: a write after that sets
 * it again in the log. The log's own marks are cleared chunk by chunk, as late as that can be: before the first page
 * of a chunk is handed out. A page that was written again before its chunk's turn is sent only once.
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
  /** Chunks of which the log has marks of pages that are to be sent. */
  readonly #uncleared: ClearBitmap[];
  readonly #chunkPages: number;
  readonly #log: DirtyLog;
  readonly #onPass: (pass: number) => void;
  /** By block, whether its pages are sent. */
  readonly #sent: readonly boolean[];
  #page = 0;

  /**
   * @param onPass told the number of each sync, from 1
   * @param ignoreShared shared blocks stay where they are: they are in `blocks`, and have no pages to be sent
   * @param clearBitmapShift a chunk has 2^shift pages
   */
  constructor(
    memory: GuestMemory,
    onPass: (pass: number) => void = () => {},
    ignoreShared = false,
    clearBitmapShift = CLEAR_BITMAP_SHIFT_DEFAULT,
  ) {
    this.#onPass = onPass;
    this.blocks = memory.blocks.map((block) => new RamBlock(block));
    this.#sent = this.blocks.map((block) => !(ignoreShared && block.shared));
    this.totalBytes = this.blocks.reduce(
      (sum, block, index) => (this.#sent[index] ? sum + block.usedLengthBytes : sum),
      0,
    );
    this.#bitmaps = this.blocks.map((block) => new DirtyBitmap(block.pageCount));
    this.#uncleared = this.blocks.map((block) => new ClearBitmap(block.pageCount, clearBitmapShift));
    this.#chunkPages = 2 ** clearBitmapShift;
    this.#log = openDirtyLog(memory.dirtyLog, this.blocks);
  }

  /** Starts logging, and then marks every page: a page written before the mark is sent anyway. */
  start(): void {
    this.#log.start();
    for (const [index, bitmap] of this.#bitmaps.entries()) {
      if (!this.#sent[index]) continue;
      bitmap.setAll();
      this.dirtyPages += bitmap.pageCount;
    }
    for (const chunks of this.#uncleared) chunks.markAll();
    this.dirtySyncCount = 1;
    this.#onPass(1);
  }

  stop(): void {
    this.#log.stop();
  }

  /** Fetches what the guest wrote since the last sync. Returns how many pages were not dirty before. */
  sync(): number {
    let fresh = 0;
    for (const [index, bitmap] of this.#bitmaps.entries()) {
      if (this.#sent[index]) fresh += this.#log.sync(index, bitmap);
    }
    for (const chunks of this.#uncleared) chunks.markAll();
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
      const bitmap = this.#bitmaps[this.blockIndex]!;
      const first = bitmap.nextSet(this.#page);
      if (first >= 0) {
        const chunk = this.#uncleared[this.blockIndex]!.takeChunk(first);
        if (chunk !== undefined) this.#log.clear(this.blockIndex, chunk.first, chunk.count, bitmap);
        const chunkEnd = (Math.floor(first / this.#chunkPages) + 1) * this.#chunkPages;
        const count = bitmap.takeRun(first, most, pages, 0, chunkEnd);
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
