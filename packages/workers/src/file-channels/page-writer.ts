import { writeSync } from 'node:fs';
import { fileError } from '@pageferry/core';
import { BlockView, DirtyBitmap, type RamBlockMemory, TARGET_PAGE_BYTES } from '@pageferry/core/memory';

/** A RAM block and its place in a mapped-ram file, for another thread. */
export interface PlacedBlock {
  readonly memory: RamBlockMemory;
  /** Where page 0 goes in the file. */
  readonly pagesOffset: number;
  /** Of a `DirtyBitmap`: the pages whose bytes are in the file. */
  readonly present: SharedArrayBuffer;
}

/** What the pages of one job came to. */
export interface Written {
  /** Positioned writes. */
  writes: number;
  normalPages: number;
  zeroPages: number;
  /** Time inside the writes. */
  writeMs: number;
}

/**
 * Writes pages from where they lie in guest RAM to their places in the file, without a copy. A page that
 * changes meanwhile is dirty again.
 *
 * A zero page is not written, only its bit is cleared: what an earlier pass wrote stays in the file, unread.
 * Bits are changed word by word with atomic instructions, since the pages of one word may be several threads';
 * one page must not be two threads' at the same time.
 */
export class PageWriter {
  readonly #fd: number;
  readonly #path: string;
  readonly #detectZero: boolean;
  readonly #blocks: readonly {
    view: BlockView;
    bytes: Uint8Array;
    pagesOffset: number;
    present: DirtyBitmap;
  }[];

  /**
   * @param path for messages
   * @param detectZero whether zero pages are looked for; if not they are written like others
   */
  constructor(fd: number, path: string, blocks: readonly PlacedBlock[], detectZero: boolean) {
    this.#fd = fd;
    this.#path = path;
    this.#detectZero = detectZero;
    this.#blocks = blocks.map(({ memory, pagesOffset, present }) => ({
      view: new BlockView(memory),
      bytes: new Uint8Array(memory.buffer, memory.byteOffset, memory.usedLengthBytes),
      pagesOffset,
      present: new DirtyBitmap(memory.usedLengthBytes / TARGET_PAGE_BYTES, present),
    }));
  }

  /**
   * Writes `pages[0..count)`, which ascend. Neighbours go in one write.
   * @throws MigrationError `file-failed`
   */
  write(block: number, pages: Uint32Array, count: number, written: Written): void {
    const { view, present } = this.#blocks[block]!;
    written.writes = 0;
    written.zeroPages = 0;
    written.writeMs = 0;
    // Pages first to next (exclusive) wait to be written together.
    let first = -1;
    let next = -1;
    for (let i = 0; i < count; i++) {
      const page = pages[i]!;
      const zero = this.#detectZero && view.isZero(page);
      if (first >= 0 && (zero || page !== next)) {
        this.#writeRun(block, first, next, written);
        first = -1;
      }
      if (zero) {
        present.testAndClear(page);
        written.zeroPages++;
        continue;
      }
      if (first < 0) first = page;
      next = page + 1;
    }
    if (first >= 0) this.#writeRun(block, first, next, written);
    written.normalPages = count - written.zeroPages;
  }

  #writeRun(block: number, first: number, end: number, written: Written): void {
    const { bytes, pagesOffset, present } = this.#blocks[block]!;
    let at = first * TARGET_PAGE_BYTES;
    let left = (end - first) * TARGET_PAGE_BYTES;
    const startMs = performance.now();
    try {
      // A disk that is nearly full takes a part, and then says so.
      while (left > 0) {
        const taken = writeSync(this.#fd, bytes, at, left, pagesOffset + at);
        if (taken === 0) throw Object.assign(new Error('the system writes nothing'), { syscall: 'write' });
        at += taken;
        left -= taken;
        written.writes++;
      }
    } catch (error) {
      throw fileError(error, this.#path, `write ${this.#path}`);
    }
    written.writeMs += performance.now() - startMs;
    present.setRange(first, end - first);
  }
}
