import type { ResolvedMigrateOptions } from '../control/options.ts';
import type { CompressionStats } from '../control/progress.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { CompressThreads } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type { MainPageWriter } from './main-pages.ts';

interface CompressedPagesParts {
  readonly threads: CompressThreads;
  readonly channel: ByteChannel;
  readonly main: MainPageWriter;
  readonly live: Readonly<ResolvedMigrateOptions>;
  readonly signal: AbortSignal;
  /** Sends pages `from` to `end` of the batch uncompressed. */
  ordinary(blockIndex: number, from: number, end: number): Promise<void>;
}

const WORD_BYTES = 8;
const ZERO_RECORD_BYTES = WORD_BYTES + 1;

/**
 * Capability `compress`: pages of the main channel go through threads and come back as records, in any order. The
 * records do not name their block, so the first page of a block goes the ordinary way, when nothing of another
 * block is under way any more. Nor may a page be under way twice: the caller flushes before it begins a pass.
 */
export class CompressedPages {
  zeroPages = 0;
  /** Bytes of all records. */
  recordBytes = 0;
  readonly #parts: CompressedPagesParts;
  /** The block that the last record was of. */
  #block = -1;
  readonly #stats = { pages: 0, busy: 0, busyRate: 0, compressedSize: 0, compressionRate: 0 };
  #periodStart = { pages: 0, busy: 0, compressedSize: 0, handledPages: 0 };

  constructor(parts: CompressedPagesParts) {
    this.#parts = parts;
  }

  /** Pages that were sent here and are not with the channel yet. */
  get pendingPages(): number {
    return this.#parts.threads.pendingPages;
  }

  /** For `query-migrate`. */
  stats(): CompressionStats {
    return { ...this.#stats };
  }

  /** Takes the rates of the period that ends here. @param handledPages that left in any way, since the start */
  endPeriod(handledPages: number): void {
    const { pages, busy, compressedSize } = this.#stats;
    const before = this.#periodStart;
    const handled = handledPages - before.handledPages;
    if (handled === 0) return;
    this.#stats.busyRate = (busy - before.busy) / handled;
    const bytes = compressedSize - before.compressedSize;
    if (bytes > 0) this.#stats.compressionRate = ((pages - before.pages) * TARGET_PAGE_BYTES) / bytes;
    this.#periodStart = { pages, busy, compressedSize, handledPages };
  }

  /** Sends the first `count` of `pages`, at most a batch of the threads. */
  async send(blockIndex: number, pages: Uint32Array, count: number): Promise<void> {
    const { ordinary } = this.#parts;
    let from = 0;
    if (blockIndex !== this.#block) {
      await this.flush();
      this.#block = blockIndex;
      await ordinary(blockIndex, 0, 1);
      from = 1;
    }
    if (from === count || (await this.#submit(blockIndex, pages, from, count))) return;
    await ordinary(blockIndex, from, count);
  }

  /** Waits for all threads, and hands what they made to the channel. */
  async flush(): Promise<void> {
    await this.#collect();
    while (this.pendingPages > 0) {
      await this.#parts.threads.done();
      await this.#collect();
    }
  }

  /** Returns false when no thread is free and none shall be waited for. */
  async #submit(blockIndex: number, pages: Uint32Array, from: number, end: number): Promise<boolean> {
    const { threads, live } = this.#parts;
    await this.#collect();
    while (!threads.submit(blockIndex, pages, from, end)) {
      if (!live.compressWaitThread) {
        this.#stats.busy += end - from;
        // A thread that has finished is seen when the event loop has its turn.
        await new Promise((resolve) => setImmediate(resolve));
        return false;
      }
      await threads.done();
      await this.#collect();
    }
    return true;
  }

  /** Hands what the threads have made so far to the channel, and waits while that is full. */
  async #collect(): Promise<void> {
    const { threads, channel, main, signal } = this.#parts;
    signal.throwIfAborted();
    for (let batch = threads.next(); batch !== undefined; batch = threads.next()) {
      const { records, compressedPages, zeroPages } = batch;
      this.zeroPages += zeroPages;
      this.recordBytes += records.length;
      this.#stats.pages += compressedPages;
      this.#stats.compressedSize +=
        records.length - zeroPages * ZERO_RECORD_BYTES - compressedPages * WORD_BYTES;
      main.flush();
      if (channel.write(records)) continue;
      await channel.drained();
      signal.throwIfAborted();
    }
  }
}
