/** Length of a measuring and limiting window, ms (QEMU's BUFFER_DELAY). */
export const WINDOW_MS = 100;

/**
 * Bandwidth: what was measured in the last full window, and what `max-bandwidth` still allows in this one.
 *
 * The limit is a budget that grows with time and is never allowed to save up more than one window, so that
 * a pause is not followed by a burst, while a packet that overshoots is paid back in the next window.
 */
export class Pacer {
  readonly #live: { readonly maxBandwidthBytesPerSecond: number };
  readonly #now: () => number;
  #windowStartMs: number;
  #windowStartBytes = 0;
  #windowStartPageBytes = 0;
  #windowStartPages = 0;
  #budgetAtMs: number;
  #budgetBytes = 0;
  /** Wire bytes per ms of the last full window; 0 before the first one. */
  wireBytesPerMs = 0;
  /** Bytes of non-zero guest pages per ms of the last full window: above the wire's when compressing. */
  guestBytesPerMs = 0;
  pagesPerSecond = 0;

  /** @param live the limit, which may change at any time */
  constructor(
    live: { readonly maxBandwidthBytesPerSecond: number },
    now: () => number = () => performance.now(),
  ) {
    this.#live = live;
    this.#now = now;
    this.#windowStartMs = now();
    this.#budgetAtMs = this.#windowStartMs;
  }

  get maxBandwidthBytesPerSecond(): number {
    return this.#live.maxBandwidthBytesPerSecond;
  }

  /** Closes the window when it is due. All three are totals since the start of the migration. */
  update(wireBytes: number, normalPageBytes: number, pages: number): void {
    const now = this.#now();
    const elapsedMs = now - this.#windowStartMs;
    if (elapsedMs < WINDOW_MS) return;
    this.wireBytesPerMs = (wireBytes - this.#windowStartBytes) / elapsedMs;
    this.guestBytesPerMs = (normalPageBytes - this.#windowStartPageBytes) / elapsedMs;
    this.pagesPerSecond = ((pages - this.#windowStartPages) / elapsedMs) * 1000;
    this.#windowStartMs = now;
    this.#windowStartBytes = wireBytes;
    this.#windowStartPageBytes = normalPageBytes;
    this.#windowStartPages = pages;
  }

  /**
   * How many bytes of guest pages can be sent within the downtime limit. Uses the faster of the wire's and
   * the pages' rate: with compression more guest bytes than wire bytes go through.
   */
  thresholdBytes(downtimeLimitMs: number): number {
    return this.bytesPerMs * downtimeLimitMs;
  }

  /** Bytes of guest pages that go out per ms, as `thresholdBytes` takes it. */
  get bytesPerMs(): number {
    return Math.max(this.wireBytesPerMs, this.guestBytesPerMs);
  }

  /**
   * Whether more may be sent now.
   * @param committedBytes everything sent and everything queued that may still be sent, since the start
   * @returns 0: yes; else how many ms to wait before asking again
   */
  waitMs(committedBytes: number): number {
    if (this.maxBandwidthBytesPerSecond === 0) return 0;
    const perMs = this.maxBandwidthBytesPerSecond / 1000;
    const now = this.#now();
    this.#budgetBytes += (now - this.#budgetAtMs) * perMs;
    this.#budgetAtMs = now;
    const left = this.#budgetBytes - committedBytes;
    if (left > perMs * WINDOW_MS) this.#budgetBytes = committedBytes + perMs * WINDOW_MS;
    return left > 0 ? 0 : Math.min(WINDOW_MS, Math.max(1, -left / perMs));
  }
}
