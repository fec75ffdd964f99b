import type { WriteTracker } from '../guest/write-tracking.ts';
import { type RamBlock, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { isZeroPage } from '../memory/zero-page.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import { type DeviceSection, RamFlag } from '../wire/messages.ts';
import { encodeEos } from '../wire/ram-records.ts';
import { Breath } from './breath.ts';
import { MainPages } from './main-pages.ts';
import type { MainStreamWriter } from './main-stream.ts';

interface SnapshotPagesParts {
  readonly blocks: readonly RamBlock[];
  /** Whether the pages of a block are sent; with x-ignore-shared some stay where they are. */
  isSent(blockIndex: number): boolean;
  readonly channel: ByteChannel;
  readonly stream: MainStreamWriter;
  readonly tracker: WriteTracker;
  /** Whether zero pages travel as such. */
  readonly detectZero: boolean;
  readonly signal: AbortSignal;
}

/** Pages that are claimed at a time: a vCPU that wants to write one of them waits while they are copied. */
const BATCH_PAGES = 32;
/** Copies of vCPUs that are taken at a time; with a batch far less than the main channel's buffers hold. */
const URGENT_PAGES = 64;
/** How often copies that a vCPU is still making are looked for, ms. */
const POLL_MS = 1;

/** Moves every page of a running guest to the main channel once, as it was when `tracker` began. */
export class SnapshotPages {
  readonly totalBytes: number;
  /** As `PageFlow`: every page is either sent or still to be sent. */
  readonly queuedPages = 0;
  readonly main: MainPages;
  readonly #parts: SnapshotPagesParts;
  readonly #batch = new Uint32Array(BATCH_PAGES);
  /** Pages that are not sent yet. */
  #left: number;
  readonly #breath: Breath;

  constructor(parts: SnapshotPagesParts) {
    this.#parts = parts;
    this.#breath = new Breath(parts.signal);
    // It copies each page, so that the guest may write it at once.
    this.main = new MainPages(parts.channel, parts.blocks);
    const sent = parts.blocks.filter((_, index) => parts.isSent(index));
    this.#left = sent.reduce((sum, { pageCount }) => sum + pageCount, 0);
    this.totalBytes = this.#left * TARGET_PAGE_BYTES;
  }

  get done(): boolean {
    return this.#left === 0;
  }

  pendingBytes(): number {
    return this.#left * TARGET_PAGE_BYTES;
  }

  /** SECTION_START with the block list; then the device sections that precede pages. */
  async writeStart(early: readonly DeviceSection[]): Promise<void> {
    const { stream, blocks } = this.#parts;
    stream.ramStart(blocks);
    await this.#endSection();
    stream.deviceSections(early);
  }

  /** SECTION_PART: pages until the time is up or none is left, those first that vCPUs want to write. */
  async writePart(limitMs: number): Promise<void> {
    const { stream, channel, signal, tracker } = this.#parts;
    stream.ramPart();
    const deadline = performance.now() + limitMs;
    while (!this.done && performance.now() < deadline) {
      const urgent = tracker.takeUrgent(URGENT_PAGES, this.#addUrgent);
      const claimed = this.#addClaimed();
      this.#left -= urgent + claimed;
      if (urgent + claimed === 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      await channel.drained();
      signal.throwIfAborted();
      await this.#breath.take();
    }
    await this.#endSection();
  }

  async #endSection(): Promise<void> {
    const { stream, channel, signal } = this.#parts;
    this.main.flush();
    channel.write(encodeEos());
    stream.footer();
    await channel.drained();
    signal.throwIfAborted();
  }

  readonly #addUrgent = (blockIndex: number, page: number, slots: Buffer, at: number): void => {
    if (this.#parts.detectZero && isZeroPage(slots, at)) this.main.addZero(blockIndex, page);
    else this.main.addRecord(blockIndex, page, RamFlag.page, slots, at, TARGET_PAGE_BYTES);
  };

  #addClaimed(): number {
    const { tracker, detectZero } = this.#parts;
    const count = tracker.claim(this.#batch);
    const { blockIndex } = tracker;
    for (let i = 0; i < count; i++) {
      const page = this.#batch[i]!;
      if (detectZero && this.main.isZero(blockIndex, page)) this.main.addZero(blockIndex, page);
      else this.main.addPage(blockIndex, page);
    }
    tracker.release(this.#batch, count);
    return count;
  }
}
