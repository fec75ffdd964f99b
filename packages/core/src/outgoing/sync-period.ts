/** A period ends at the first sync of the dirty log after this long. */
const PERIOD_MS = 1000;

/** What happened between two syncs that are more than a second apart. */
export interface Period {
  /** Pages that were found newly dirty. */
  readonly dirtiedPages: number;
  /** Bytes of guest pages that were sent, as `Pacer.bytesPerMs` counts them. */
  readonly sentBytes: number;
}

/** Takes stock once a second, at a sync: the dirty rate, and whether the guest is to be throttled, come from it. */
export class SyncPeriods {
  /** Of the last full period; 0 before. */
  dirtyPagesPerSecond = 0;
  readonly #now: () => number;
  #startMs: number;
  #startDirtied = 0;
  #startBytes = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#startMs = now();
  }

  /**
   * To be told of each sync. Both are totals since the start of the migration.
   * @returns the period that ended with it, if one did
   */
  synced(dirtiedPages: number, sentBytes: number): Period | undefined {
    const now = this.#now();
    const elapsedMs = now - this.#startMs;
    if (elapsedMs <= PERIOD_MS) return undefined;
    const period = {
      dirtiedPages: dirtiedPages - this.#startDirtied,
      sentBytes: sentBytes - this.#startBytes,
    };
    this.dirtyPagesPerSecond = (period.dirtiedPages * 1000) / elapsedMs;
    this.#startMs = now;
    this.#startDirtied = dirtiedPages;
    this.#startBytes = sentBytes;
    return period;
  }
}
