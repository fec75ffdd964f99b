import { deflateSync, inflateSync } from 'node:zlib';
import { RamBlock, type RamBlockMemory, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { isZeroPage } from '../memory/zero-page.ts';
import type { CompressedBatch, CompressThreads, DecompressThreads } from '../page-channels.ts';
import { RamFlag } from '../wire/messages.ts';
import { encodePageHeader } from '../wire/ram-records.ts';

/**
 * Compress threads in the test's own thread: a batch is compressed when `finish` says so, in the order that the
 * test chooses.
 */
export class InThreadCompress implements CompressThreads {
  readonly pagesPerSubmit = 4;
  readonly failed = new Promise<never>(() => {});
  pendingPages = 0;
  /** Batches under way, oldest first. */
  readonly batches: { blockIndex: number; pages: number[] }[] = [];
  readonly #threads: number;
  readonly #done: CompressedBatch[] = [];
  #blocks: RamBlock[] = [];

  constructor(threads: number) {
    this.#threads = threads;
  }

  async open(blocks: readonly RamBlockMemory[]): Promise<void> {
    this.#blocks = blocks.map((block) => new RamBlock(block));
  }

  submit(blockIndex: number, pages: Uint32Array, from: number, end: number): boolean {
    if (this.batches.length === this.#threads) return false;
    this.batches.push({ blockIndex, pages: [...pages.subarray(from, end)] });
    this.pendingPages += end - from;
    return true;
  }

  /** Makes the records of a batch that is under way, by default of the latest. */
  finish(index = this.batches.length - 1): void {
    const [batch] = this.batches.splice(index, 1);
    const records = batch!.pages.map((page) => this.#record(batch!.blockIndex, page));
    const zeroPages = records.filter(({ zero }) => zero).length;
    const compressedPages = records.length - zeroPages;
    this.#done.push({
      records: Buffer.concat(records.map(({ bytes }) => bytes)),
      compressedPages,
      zeroPages,
    });
  }

  next(): CompressedBatch | undefined {
    const batch = this.#done.shift();
    if (batch !== undefined) this.pendingPages -= batch.compressedPages + batch.zeroPages;
    return batch;
  }

  async done(): Promise<void> {
    if (this.#done.length === 0 && this.batches.length > 0) this.finish();
  }

  async end(): Promise<void> {}

  #record(blockIndex: number, page: number): { zero: boolean; bytes: Uint8Array } {
    const start = page * TARGET_PAGE_BYTES;
    const content = this.#blocks[blockIndex]!.bytes.slice(start, start + TARGET_PAGE_BYTES);
    const zero = isZeroPage(content);
    const head = Buffer.alloc(8);
    encodePageHeader(head, 0, undefined, page, zero ? RamFlag.zero : RamFlag.compressPage);
    if (zero) return { zero, bytes: Buffer.concat([head, Buffer.alloc(1)]) };
    const stream = deflateSync(content);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(stream.length);
    return { zero, bytes: Buffer.concat([head, length, stream]) };
  }
}

/** Decompress threads in the test's own thread: pages get to their places, latest first, when they are waited for. */
export class InThreadDecompress implements DecompressThreads {
  readonly failed = new Promise<never>(() => {});
  /** What `open` was told. */
  checkErrors: boolean | undefined;
  readonly #room: number;
  #blocks: RamBlock[] = [];
  #pages: { blockIndex: number; pageIndex: number; bytes: Uint8Array }[] = [];

  /** @param room pages that are taken before there is no free thread */
  constructor(room: number) {
    this.#room = room;
  }

  async open(blocks: readonly RamBlockMemory[], checkErrors: boolean): Promise<void> {
    this.#blocks = blocks.map((block) => new RamBlock(block));
    this.checkErrors = checkErrors;
  }

  add(blockIndex: number, pageIndex: number, bytes: Uint8Array): boolean {
    if (this.#pages.length === this.#room) return false;
    this.#pages.push({ blockIndex, pageIndex, bytes: bytes.slice() });
    return true;
  }

  holds(blockIndex: number, pageIndex: number): boolean {
    return this.#pages.some((page) => page.blockIndex === blockIndex && page.pageIndex === pageIndex);
  }

  async drained(): Promise<void> {
    await this.finished();
  }

  async finished(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    for (const { blockIndex, pageIndex, bytes } of this.#pages.reverse()) {
      this.#blocks[blockIndex]!.bytes.set(inflateSync(bytes), pageIndex * TARGET_PAGE_BYTES);
    }
    this.#pages = [];
  }

  async end(): Promise<void> {}
}
