import { writeSync } from 'node:fs';
import { fileError } from '@pageferry/core';
import {
  BlockView,
  DirtyBitmap,
  type RamBlockMemory,
  runLength,
  TARGET_PAGE_BYTES,
} from '@pageferry/core/memory';
import type { PageJob } from './page-ring.ts';

/** A RAM block and its place in a mapped-ram file, for another thread. */
export interface PlacedBlock {
  readonly memory: RamBlockMemory;
  /** Where page 0 goes in the file. */
  readonly pagesOffset: number;
  /** Of a `DirtyBitmap`: the pages whose bytes are in the file. */
  readonly present: SharedArrayBuffer;
}

interface Block {
  readonly view: BlockView;
  readonly bytes: Uint8Array;
  readonly pagesOffset: number;
  readonly present: DirtyBitmap;
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
  readonly #blocks: readonly Block[];

  /** @param path for messages */
  constructor(fd: number, path: string, blocks: readonly PlacedBlock[]) {
    this.#fd = fd;
    this.#path = path;
    this.#blocks = blocks.map(({ memory, pagesOffset, present }) => ({
      view: new BlockView(memory),
      bytes: new Uint8Array(memory.buffer, memory.byteOffset, memory.usedLengthBytes),
      pagesOffset,
      present: new DirtyBitmap(memory.usedLengthBytes / TARGET_PAGE_BYTES, present),
    }));
  }

  /** Takes the zero pages out of a job, and their bits out of the bitmap. */
  check(job: PageJob): void {
    const { view, present } = this.#blocks[job.block]!;
    const { pages, count } = job;
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const page = pages[i]!;
      if (view.isZero(page)) present.testAndClear(page);
      else pages[kept++] = page;
    }
    job.setChecked(kept, count - kept);
  }

  /**
   * Writes the pages of a job, neighbours together. Returns the number of writes.
   * @throws MigrationError `file-failed`
   */
  write(job: PageJob): number {
    const block = this.#blocks[job.block]!;
    const { pages, count } = job;
    let writes = 0;
    for (let i = 0; i < count; ) {
      const run = runLength(pages, i, count);
      writes += this.#writeRun(block, pages[i]!, run);
      i += run;
    }
    return writes;
  }

  #writeRun({ bytes, pagesOffset, present }: Block, first: number, count: number): number {
    let at = first * TARGET_PAGE_BYTES;
    let left = count * TARGET_PAGE_BYTES;
    let writes = 0;
    try {
      // A disk that is nearly full takes a part, and then says so.
      while (left > 0) {
        const taken = writeSync(this.#fd, bytes, at, left, pagesOffset + at);
        if (taken === 0) throw Object.assign(new Error('the system writes nothing'), { syscall: 'write' });
        at += taken;
        left -= taken;
        writes++;
      }
    } catch (error) {
      throw fileError(error, this.#path, `write ${this.#path}`);
    }
    present.setRange(first, count);
    return writes;
  }
}
