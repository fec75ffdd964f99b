import type { ResolvedMigrateOptions } from '../control/options.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';

/** Length of a measuring and limiting window, ms (QEMU's BUFFER_DELAY). */
const WINDOW_MS = 100;
/** Pages may wait in the channels' queues for as long as this takes at the limit, so that channels work in parallel. */
const LOOKAHEAD_MS = 50;
/** How soon a queue is looked at again: its pages may turn out to be zero, or to be compressed. */
const QUEUE_POLL_MS = 2;
/** A queued page is taken for no less than this, whatever the pages before it became. */
const LEAST_PAGE_BYTES = 512;

/** What a pacer obeys; it may change while the migration runs. */
export type PacerOptions = Readonly<
  Pick<
    ResolvedMigrateOptions,
    'maxBandwidthBytesPerSecond' | 'downtimeLimitMs' | 'availSwitchoverBandwidthBytesPerSecond'
  >
>;

/**
 * Bandwidth: what was measured in the last full window, and what `max-bandwidth` still allows in this one.
 *
 * The limit is a budget that grows with time, at the rate that the limit has then, and is never allowed to save up
 * more than one window, so that a pause is not followed by a burst, while a packet that overshoots is paid back.
 */
export class Pacer {
  readonly #live: PacerOptions;
  readonly #now: () => number;
  #windowStartMs: number;
  #windowStartBytes = 0;
  #windowStartPageBytes = 0;
  #windowStartPages = 0;
  /** The limit that the budget grows by, bytes per ms. */
  #perMs = 0;
  #budgetAtMs: number;
  #budgetBytes = 0;
  /** Wire bytes per ms of the last full window; 0 before the first one. */
  wireBytesPerMs = 0;
  /** Bytes of non-zero guest pages per ms of the last full window: above the wire's when compressing. */
  guestBytesPerMs = 0;
  pagesPerSecond = 0;
  /** What a page became on the wire, on average, in the last window that sent some. */
  #queuedPageBytes = TARGET_PAGE_BYTES;

  constructor(live: PacerOptions, now: () => number = () => performance.now()) {
    this.#live = live;
    this.#now = now;
    this.#windowStartMs = now();
    this.#budgetAtMs = this.#windowStartMs;
  }

  /**
   * Closes the window when it is due. All three are totals since the start of the migration.
   * @returns how many bytes went over the wire in the window that it has closed
   */
  update(wireBytes: number, normalPageBytes: number, pages: number): number | undefined {
    const now = this.#now();
    const elapsedMs = now - this.#windowStartMs;
    if (elapsedMs < WINDOW_MS) return undefined;
    const windowBytes = wireBytes - this.#windowStartBytes;
    this.wireBytesPerMs = windowBytes / elapsedMs;
    this.guestBytesPerMs = (normalPageBytes - this.#windowStartPageBytes) / elapsedMs;
    const windowPages = pages - this.#windowStartPages;
    this.pagesPerSecond = (windowPages / elapsedMs) * 1000;
    if (windowPages > 0) this.#queuedPageBytes = Math.max(LEAST_PAGE_BYTES, windowBytes / windowPages);
    this.#windowStartMs = now;
    this.#windowStartBytes = wireBytes;
    this.#windowStartPageBytes = normalPageBytes;
    this.#windowStartPages = pages;
    return windowBytes;
  }

  /** How many bytes of guest pages can be sent within the downtime limit (QEMU's threshold_size); 0 if unknown. */
  get thresholdBytes(): number {
    if (this.bytesPerMs === 0) return 0;
    return Math.floor(this.switchoverBytesPerMs * this.#live.downtimeLimitMs);
  }

  /** Bytes of guest pages that are expected to go out per ms once the guest stands still. */
  get switchoverBytesPerMs(): number {
    const given = this.#live.availSwitchoverBandwidthBytesPerSecond;
    return given > 0 ? given / 1000 : this.bytesPerMs;
  }

  /**
   * Bytes of guest pages that go out per ms: the faster of the wire's and the pages' rate, since with compression more
   * guest bytes than wire bytes go through.
   */
  get bytesPerMs(): number {
    return Math.max(this.wireBytesPerMs, this.guestBytesPerMs);
  }

  /**
   * Whether there is no limit now: it is 0, or less than a byte a window, as in QEMU. What is sent meanwhile is not held
   * against one that comes later.
   */
  unlimited(): boolean {
    if ((this.#live.maxBandwidthBytesPerSecond * WINDOW_MS) / 1000 >= 1) return false;
    this.#perMs = 0;
    return true;
  }

  /**
   * Whether more may be sent now.
   * @param wireBytes sent since the start, over all channels
   * @param queuedPages given to channels that have not sent them yet
   * @returns 0: yes; else how many ms to wait before asking again
   */
  waitMs(wireBytes: number, queuedPages: number): number {
    if (this.unlimited()) return 0;
    const now = this.#now();
    const perMs = this.#live.maxBandwidthBytesPerSecond / 1000;
    const queuedBytes = queuedPages * this.#queuedPageBytes;
    if (perMs !== this.#perMs) {
      this.#perMs = perMs;
      // What was queued under the limit before is not held against this one.
      this.#budgetBytes = Math.max(this.#budgetBytes, wireBytes + queuedBytes);
    }
    const grown = this.#budgetBytes + (now - this.#budgetAtMs) * perMs;
    this.#budgetBytes = Math.min(grown, wireBytes + queuedBytes + perMs * WINDOW_MS);
    this.#budgetAtMs = now;
    const left = this.#budgetBytes - wireBytes;
    if (left <= 0) return Math.min(WINDOW_MS, Math.max(1, -left / perMs));
    return queuedPages === 0 || queuedBytes < perMs * LOOKAHEAD_MS ? 0 : QUEUE_POLL_MS;
  }
}
