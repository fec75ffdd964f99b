import { MigrationError } from '../error.ts';

/**
 * Fails a migration on which nothing moves any more: `stall-timeout`. Looks at a counter of all bytes of
 * all channels in both directions, four times per limit (at least once a second).
 */
export class StallWatch {
  readonly failed: Promise<never>;
  readonly #limitMs: number;
  readonly #moved: () => number;
  readonly #place: () => { channel: string; offset: number };
  readonly #reject: (error: MigrationError) => void;
  #timer: NodeJS.Timeout | undefined;
  #lastMoved = -1;
  #lastChangeMs = 0;
  #owed = true;

  /**
   * @param limitMs 0: never
   * @param moved total bytes so far, either way
   * @param place the channel that is most likely stuck, and how far it came: for the error
   */
  constructor(limitMs: number, moved: () => number, place: () => { channel: string; offset: number }) {
    this.#limitMs = limitMs;
    this.#moved = moved;
    this.#place = place;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.failed = promise;
    this.#reject = reject;
  }

  start(): void {
    if (this.#limitMs === 0) return;
    this.#lastChangeMs = performance.now();
    this.#timer = setInterval(() => this.#look(), Math.max(5, Math.min(1000, this.#limitMs / 4)));
  }

  /** While `task` runs nothing is owed by the peer: its time does not count. */
  async pausedDuring<T>(task: Promise<T>): Promise<T> {
    this.#owed = false;
    try {
      return await task;
    } finally {
      this.#owed = true;
      this.#lastChangeMs = performance.now();
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const moved = this.#moved();
    const now = performance.now();
    if (moved !== this.#lastMoved || !this.#owed) {
      this.#lastMoved = moved;
      this.#lastChangeMs = now;
      return;
    }
    if (now - this.#lastChangeMs < this.#limitMs) return;
    this.stop();
    this.#reject(
      new MigrationError(
        'stall-timeout',
        `no byte moved either way for ${Math.round(now - this.#lastChangeMs)} ms`,
        {
          ...this.#place(),
          found: `${moved} bytes so far`,
          expected: `progress within ${this.#limitMs} ms`,
        },
      ),
    );
  }
}
