/** Less than this is not worth another pass: it goes in less time than the guest takes to stop. */
const SMALL_BYTES = 256 * 1024;
/** Passes beyond the point at which the guest could have been stopped. */
const MAX_FURTHER_PASSES = 8;
/** A further pass must leave at most this share of what is left now. */
const WORTHWHILE_SHARE = 0.5;

/**
 * When the guest is stopped. What is left must fit into the downtime limit; beyond that it pays to go on as long
 * as each pass leaves much less than the one before: the guest then stands still for a part of the limit only,
 * and the migration takes hardly longer, since what is sent before the stop need not be sent after it.
 */
export class Convergence {
  readonly #now: () => number;
  #syncMs: number;
  #furtherPasses = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#syncMs = now();
  }

  /**
   * To be asked after each sync of the dirty log whether going on pays.
   *
   * @param dirtiedBytes what that sync found newly dirty
   * @param pendingBytes all that is left, queues included
   * @param bytesPerMs at which pages are sent; 0 unknown
   * @param fits whether the guest could be stopped now
   */
  paysToGoOn(dirtiedBytes: number, pendingBytes: number, bytesPerMs: number, fits: boolean): boolean {
    const now = this.#now();
    const elapsedMs = Math.max(1, now - this.#syncMs);
    this.#syncMs = now;
    if (!fits) return true;
    if (pendingBytes <= SMALL_BYTES || this.#furtherPasses >= MAX_FURTHER_PASSES) return false;
    if (dirtiedBytes / elapsedMs > bytesPerMs * WORTHWHILE_SHARE) return false;
    this.#furtherPasses++;
    return true;
  }
}
