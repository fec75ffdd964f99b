import type { ResolvedMigrateOptions } from '../control/options.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { CompressThreads, PageSender } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type { DeviceSection } from '../wire/messages.ts';
import { encodeEos, encodeMultifdFlush } from '../wire/ram-records.ts';
import { Breath } from './breath.ts';
import { CompressedPages } from './compressed-pages.ts';
import { MainPages, type MainPageWriter } from './main-pages.ts';
import type { MainStreamWriter } from './main-stream.ts';
import type { Pacer } from './pacer.ts';
import type { RamIteration } from './ram-iteration.ts';
import type { ProtocolSwitches } from './switches.ts';
import { XbzrlePages } from './xbzrle-pages.ts';

interface PageFlowParts {
  readonly ram: RamIteration;
  readonly channel: ByteChannel;
  readonly stream: MainStreamWriter;
  readonly switches: ProtocolSwitches;
  readonly pacer: Pacer;
  readonly sender: PageSender | undefined;
  /** Writes the pages of the main channel, if not `MainPages`. */
  readonly mainPages: MainPageWriter | undefined;
  /** With the capability `compress`. */
  readonly compressThreads: CompressThreads | undefined;
  readonly live: Readonly<ResolvedMigrateOptions>;
  readonly signal: AbortSignal;
  /** Bytes on the wire so far, all channels. */
  wireBytes(): number;
}

/** How many pages are taken from the bitmap at a time on the main channel. */
const MAIN_BATCH_PAGES = 64;
/** The word that ends a section of RAM. */
const EOS_BYTES = 8;

/**
 * Moves pages from the bitmap to where they travel (page channels or main channel), inside RAM sections,
 * with the sync points between main channel and page channels at the places that the destination expects.
 */
export class PageFlow {
  readonly main: MainPageWriter;
  /** With the capability xbzrle. */
  readonly xbzrle: XbzrlePages | undefined;
  /** Words of RAM on the main channel that belong to no page, as far as QEMU counts them: those that end a PART. */
  wordBytes = 0;
  /** With the capability compress. */
  readonly compressed: CompressedPages | undefined;
  /** Pages handed to page channels since the start. */
  #submittedPages = 0;
  readonly #parts: PageFlowParts;
  readonly #batch: Uint32Array;
  readonly #batchPages: number;
  readonly #breath: Breath;

  constructor(parts: PageFlowParts) {
    this.#parts = parts;
    this.#breath = new Breath(parts.signal);
    const pages = parts.mainPages ?? new MainPages(parts.channel, parts.ram.blocks);
    this.xbzrle = parts.live.xbzrle ? new XbzrlePages(pages, parts.ram, parts.live) : undefined;
    this.main = this.xbzrle ?? pages;
    const { compressThreads: threads, channel, live, signal } = parts;
    const ordinary = this.#sendOnMain.bind(this);
    this.compressed =
      threads && new CompressedPages({ threads, channel, main: this.main, live, signal, ordinary });
    this.#batchPages = parts.sender?.pagesPerSubmit ?? threads?.pagesPerSubmit ?? MAIN_BATCH_PAGES;
    this.#batch = new Uint32Array(this.#batchPages);
  }

  /** Pages handed to page channels or compress threads that have not left yet. */
  get queuedPages(): number {
    const { sender } = this.#parts;
    if (sender === undefined) return this.compressed?.pendingPages ?? 0;
    let done = 0;
    for (const channel of sender.stats()) done += channel.normalPages + channel.zeroPages;
    return Math.max(0, this.#submittedPages - done);
  }

  /** What is still to be sent: dirty pages and queued ones. */
  pendingBytes(): number {
    return this.#parts.ram.dirtyBytes + this.queuedPages * TARGET_PAGE_BYTES;
  }

  /** SECTION_START with the block list and the first sync point; then the device sections that precede pages. */
  async writeStart(early: readonly DeviceSection[]): Promise<void> {
    const { stream, ram } = this.#parts;
    stream.ramStart(ram.blocks);
    await this.#syncPerPass();
    await this.#endSection();
    stream.deviceSections(early);
  }

  /** SECTION_PART: pages, no faster than the limit allows, until the time is up or the scan has come to its end. */
  async writePart(limitMs: number): Promise<void> {
    const { ram, stream, signal, pacer } = this.#parts;
    stream.ramPart();
    const deadline = performance.now() + limitMs;
    for (;;) {
      signal.throwIfAborted();
      // With nothing left to send there is nothing to hold back: the sync point of the pass is due.
      const isFree = ram.dirtyPages === 0 || pacer.unlimited();
      const waitMs = isFree ? 0 : pacer.waitMs(this.#parts.wireBytes(), this.queuedPages);
      if (waitMs > 0) {
        await this.#flushMain();
        await new Promise((resolve) => setTimeout(resolve, waitMs));
        if (performance.now() >= deadline) break;
        continue;
      }
      const count = this.#next();
      if (count === 0) {
        await this.#syncPerPass();
        break;
      }
      await this.#send(ram.blockIndex, count);
      await this.#breath.take();
      if (performance.now() >= deadline) break;
    }
    this.wordBytes += EOS_BYTES;
    await this.#endSection();
  }

  /** SECTION_END: everything that is left, at full speed; the guest stands still. */
  async writeEnd(): Promise<void> {
    const { ram, stream } = this.#parts;
    stream.ramEnd();
    if (this.xbzrle !== undefined) this.xbzrle.lastStage = true;
    // From where the scan stands to the last block, and from the first block to there: two rounds at most.
    for (let round = 0; round < 2; round++) {
      for (let count = this.#next(); count > 0; count = this.#next()) {
        await this.#send(ram.blockIndex, count);
        await this.#breath.take();
      }
      // One round in any case: device state must not be loaded before the last page is in place.
      await this.#syncPerPass();
      if (ram.dirtyPages === 0) break;
    }
    await this.#endSection();
  }

  /** Takes the next pages from the bitmap into the batch; 0 at the end of a pass. */
  #next(): number {
    const count = this.#parts.ram.next(this.#batch, this.#batchPages);
    if (count === 0) this.xbzrle?.start();
    return count;
  }

  async #send(blockIndex: number, count: number): Promise<void> {
    const { sender, switches } = this.#parts;
    if (sender === undefined) {
      // Changes are smaller than compressed pages.
      if (this.compressed === undefined || this.xbzrle?.started) await this.#sendOnMain(blockIndex, 0, count);
      else await this.compressed.send(blockIndex, this.#batch, count);
      return;
    }
    const rest = switches.zeroPageDetection === 'legacy' ? await this.#zerosToMain(blockIndex, count) : count;
    if (rest === 0) return;
    while (!sender.submit(blockIndex, this.#batch, rest)) await this.#wait(sender.drained());
    this.#submittedPages += rest;
  }

  async #sendOnMain(blockIndex: number, from: number, end: number): Promise<void> {
    const detectZero = this.#parts.switches.zeroPageDetection !== 'none';
    for (let i = from; i < end; i++) {
      const page = this.#batch[i]!;
      const room =
        detectZero && this.main.isZero(blockIndex, page)
          ? this.main.addZero(blockIndex, page)
          : this.main.addPage(blockIndex, page);
      if (!room) await this.#wait(this.main.drained());
    }
  }

  /** Up to QEMU 8.2 zero pages travel on the main channel. Keeps the others in the batch. */
  async #zerosToMain(blockIndex: number, count: number): Promise<number> {
    let rest = 0;
    for (let i = 0; i < count; i++) {
      const page = this.#batch[i]!;
      if (!this.main.isZero(blockIndex, page)) this.#batch[rest++] = page;
      else if (!this.main.addZero(blockIndex, page)) await this.#wait(this.main.drained());
    }
    return rest;
  }

  /**
   * A sync point of the per-pass mode: SYNC on every channel, and the word that waits for them. In a file
   * nobody waits: there it keeps two writes of one page apart.
   */
  async #syncPerPass(): Promise<void> {
    const { sender, switches, channel } = this.#parts;
    await this.compressed?.flush();
    if (sender === undefined || switches.flushAfterEachSection) return;
    await this.#wait(sender.sync());
    if (switches.mappedRam) return;
    this.main.flush();
    channel.write(encodeMultifdFlush());
  }

  async #endSection(): Promise<void> {
    const { sender, switches, channel, stream } = this.#parts;
    // A destination puts the pages of a section in place in any order.
    await this.compressed?.flush();
    if (sender !== undefined && switches.flushAfterEachSection) await this.#wait(sender.sync());
    this.main.flush();
    channel.write(encodeEos());
    stream.footer();
    await this.#flushMain();
  }

  /** Hands over what was gathered, and waits when the channel is full. */
  async #flushMain(): Promise<void> {
    this.main.flush();
    await this.#wait(this.#parts.channel.drained());
  }

  /** Both kinds of channel reject what waits on them when the migration is ended. */
  async #wait(done: Promise<void>): Promise<void> {
    await done;
    this.#parts.signal.throwIfAborted();
  }
}
