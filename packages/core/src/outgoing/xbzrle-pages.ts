import type { ResolvedMigrateOptions } from '../control/options.ts';
import type { XbzrleStats } from '../control/progress.ts';
import { BlockView } from '../memory/block-view.ts';
import { PageCache } from '../memory/page-cache.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { RamFlag } from '../wire/messages.ts';
import { XBZRLE_OVERFLOW, XBZRLE_PREFIX_BYTES, XbzrleEncoder } from '../wire/xbzrle.ts';
import type { MainPageWriter } from './main-pages.ts';
import type { RamIteration } from './ram-iteration.ts';

/**
 * Capability xbzrle: pages of the main channel that were sent before are sent as what has changed in them. It is in
 * front of the writer of whole pages, and starts when all of RAM was sent once.
 *
 * What the destination has of a page must be exactly what the cache holds of it. So a page that is, or gets, into the
 * cache is copied first, and the copy is sent: the guest may write meanwhile. In the last stage it stands still, and
 * nothing is kept any more.
 */
export class XbzrlePages implements MainPageWriter {
  /** The guest stands still, and each page goes for the last time. */
  lastStage = false;
  #started = false;
  readonly #writer: MainPageWriter;
  readonly #ram: RamIteration;
  readonly #live: Readonly<ResolvedMigrateOptions>;
  readonly #blocks: readonly BlockView[];
  /** Of each block, the number of its first page among all pages. */
  readonly #firstPages: readonly number[];
  readonly #encoder = new XbzrleEncoder();
  /** All of the encoder's memory: its page is at 0, and copied faster as a part. */
  readonly #copy = Buffer.from(this.#encoder.page.buffer);
  #cache: PageCache;
  readonly #stats: Omit<XbzrleStats, 'cacheSize'> = {
    bytes: 0,
    pages: 0,
    cacheMiss: 0,
    cacheMissRate: 0,
    encodingRate: 0,
    overflow: 0,
  };
  /** Pages that left in any way. */
  #handledPages = 0;
  #periodStart = { handledPages: 0, bytes: 0, pages: 0, cacheMiss: 0 };

  /** @param writer what the pages go to; nobody else may write to it */
  constructor(writer: MainPageWriter, ram: RamIteration, live: Readonly<ResolvedMigrateOptions>) {
    this.#writer = writer;
    this.#ram = ram;
    this.#live = live;
    this.#blocks = ram.blocks.map((block) => new BlockView(block));
    let pages = 0;
    this.#firstPages = ram.blocks.map((block) => {
      pages += block.pageCount;
      return pages - block.pageCount;
    });
    this.#cache = new PageCache(live.xbzrleCacheSizeBytes);
  }

  get normalPages(): number {
    return this.#writer.normalPages;
  }

  get recordBytes(): number {
    return this.#writer.recordBytes;
  }

  get zeroPages(): number {
    return this.#writer.zeroPages;
  }

  get started(): boolean {
    return this.#started;
  }

  /** All of RAM was sent once: from now on pages may be sent as changes. */
  start(): void {
    this.#started = true;
  }

  /** For `query-migrate`. */
  stats(): XbzrleStats {
    return { cacheSize: this.#live.xbzrleCacheSizeBytes, ...this.#stats };
  }

  /** Takes the rates of the period that ends here. */
  endPeriod(): void {
    const { bytes, pages, cacheMiss } = this.#stats;
    const before = this.#periodStart;
    const handled = this.#handledPages - before.handledPages;
    if (handled === 0) return;
    this.#stats.cacheMissRate = (cacheMiss - before.cacheMiss) / handled;
    const plainBytes = (pages - before.pages) * TARGET_PAGE_BYTES;
    const encodedBytes = bytes - before.bytes;
    this.#stats.encodingRate = encodedBytes === 0 ? 0 : plainBytes / encodedBytes;
    this.#periodStart = { handledPages: this.#handledPages, bytes, pages, cacheMiss };
  }

  isZero(blockIndex: number, page: number): boolean {
    return this.#writer.isZero(blockIndex, page);
  }

  addZero(blockIndex: number, page: number): boolean {
    this.#handledPages++;
    if (this.#started) {
      const cache = this.#currentCache();
      if (cache.claim(this.#firstPages[blockIndex]! + page, this.#ram.dirtySyncCount))
        cache.bytes.fill(0, cache.at, cache.at + TARGET_PAGE_BYTES);
    }
    return this.#writer.addZero(blockIndex, page);
  }

  addPage(blockIndex: number, page: number): boolean {
    if (!this.#started) {
      this.#handledPages++;
      return this.#writer.addPage(blockIndex, page);
    }
    const cache = this.#currentCache();
    const number = this.#firstPages[blockIndex]! + page;
    const age = this.#ram.dirtySyncCount;
    if (cache.find(number, age)) return this.#addChanges(cache, blockIndex, page);
    this.#handledPages++;
    this.#stats.cacheMiss++;
    if (this.lastStage || !cache.claim(number, age)) return this.#writer.addPage(blockIndex, page);
    this.#blocks[blockIndex]!.copyOut(page, 1, cache.bytes, cache.at);
    return this.#writer.addRecord(blockIndex, page, RamFlag.page, cache.bytes, cache.at, TARGET_PAGE_BYTES);
  }

  /** As `MainPageWriter`; what it writes is not known to the cache. */
  addRecord(blockIndex: number, page: number, flag: number, bytes: Buffer, at: number, length: number) {
    this.#handledPages++;
    return this.#writer.addRecord(blockIndex, page, flag, bytes, at, length);
  }

  nameBytes(blockIndex: number): number {
    return this.#writer.nameBytes(blockIndex);
  }

  drained(): Promise<void> {
    return this.#writer.drained();
  }

  flush(): void {
    this.#writer.flush();
  }

  /** A page of which the cache has what the destination has. */
  #addChanges(cache: PageCache, blockIndex: number, page: number): boolean {
    const stats = this.#stats;
    stats.pages++;
    this.#blocks[blockIndex]!.copyOut(page, 1, this.#copy, 0);
    const length = this.#encoder.encode(cache.bytes, cache.words, cache.at);
    // The destination has the page already.
    if (length === 0) return true;
    this.#handledPages++;
    if (!this.lastStage) this.#copy.copy(cache.bytes, cache.at, 0, TARGET_PAGE_BYTES);
    if (length === XBZRLE_OVERFLOW) {
      stats.overflow++;
      stats.bytes += TARGET_PAGE_BYTES;
      return this.#writer.addRecord(blockIndex, page, RamFlag.page, this.#copy, 0, TARGET_PAGE_BYTES);
    }
    const bytes = XBZRLE_PREFIX_BYTES + length;
    stats.bytes += this.#writer.nameBytes(blockIndex) + bytes;
    return this.#writer.addRecord(
      blockIndex,
      page,
      RamFlag.xbzrle,
      this.#copy,
      this.#encoder.record.byteOffset,
      bytes,
    );
  }

  /** A cache of the size that is set now: another size begins with an empty one. */
  #currentCache(): PageCache {
    const sizeBytes = this.#live.xbzrleCacheSizeBytes;
    if (this.#cache.sizeBytes !== sizeBytes) this.#cache = new PageCache(sizeBytes);
    return this.#cache;
  }
}
