/**
 * How much of its time a channel's thread may use.
 *
 * A link that waits costs more than a thread that does, so some is left free from the start. It is less where
 * threads lose their processors, to the receiver on the same machine for instance: how long a thread waits says
 * nothing of that, but a link that goes unused does. Each time it does the share falls by a factor, and it comes
 * back over the time after that.
 */

const MOST_USE = 0.96;
const LEAST_USE = 0.2;
const USE_FACTOR = 0.95;
/** Over which time it comes back, ms, and packets at least. */
const USE_BACK_MS = 200;
const USE_BACK_PACKETS = 100;
/** How often it falls while the link stays unused, ms. */
const USE_STEP_MS = 20;
/** A link that could have carried more for this long, ms and packets ... */
const UNUSED_MS = 10;
const UNUSED_PACKETS = 3;
/** ... and that is this share of its time, is not what the channel waits for. */
const UNUSED_SHARE = 0.05;
/** What a packet leaves of what was known of the ones before it: whether the link goes unused right now. */
const RECENT_KEPT = 0.8;
/** How many times as long is remembered: what happened once is soon made up for. */
const UNUSED_MOST = 2;

export class ThreadUse {
  /** The share. */
  use = MOST_USE;
  /** For how much longer than is tolerated the link has gone unused and still does, ms. */
  unusedMs = 0;
  #unusedMs = 0;
  // Of the last packets.
  #recentMs = 0;
  #recentUnusedMs = 0;
  /** How long the link was unused since the share fell. */
  #sinceFallMs = 0;

  /**
   * A packet has passed.
   *
   * @param cycleMs all the time from the one before
   * @param usedMs how long of it the link was in use
   * @param meanCycleMs how long packets take these days
   */
  watch(cycleMs: number, usedMs: number, meanCycleMs: number): void {
    const limitMs = Math.max(UNUSED_MS, UNUSED_PACKETS * meanCycleMs);
    const kept = this.#unusedMs * Math.exp(-cycleMs / (limitMs / UNUSED_SHARE));
    this.#unusedMs = Math.max(-limitMs, Math.min(UNUSED_MOST * limitMs, kept + cycleMs - usedMs));
    this.#recentMs = this.#recentMs * RECENT_KEPT + cycleMs;
    this.#recentUnusedMs = this.#recentUnusedMs * RECENT_KEPT + cycleMs - usedMs;
    const isUnusedNow = this.#recentUnusedMs > UNUSED_SHARE * this.#recentMs;
    this.unusedMs = isUnusedNow ? Math.max(0, this.#unusedMs - limitMs) : 0;
    this.use +=
      (MOST_USE - this.use) *
      (1 - Math.exp(-cycleMs / Math.max(USE_BACK_MS, USE_BACK_PACKETS * meanCycleMs)));
    if (this.unusedMs === 0) {
      this.#sinceFallMs = 0;
      return;
    }
    if (this.#sinceFallMs === 0 || this.#sinceFallMs > USE_STEP_MS) {
      this.use = Math.max(LEAST_USE, this.use * USE_FACTOR);
      this.#sinceFallMs = 0;
    }
    this.#sinceFallMs += cycleMs;
  }
}
