/**
 * Keeps a bounded number of operations running at once. The first failure stops everything that follows
 * and comes out of `run` or `drain`, so that no rejection is lost or unhandled.
 */
export class InFlight {
  readonly #limit: number;
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Starts `task` as soon as fewer than the limit are running. */
  async run(task: () => Promise<void>): Promise<void> {
    while (this.#running.size >= this.#limit) await Promise.race(this.#running);
    if (this.#failure !== undefined) throw this.#failure.error;
    const running = task()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Waits until nothing runs any more, then throws the first failure, if there was one. */
  async drain(): Promise<void> {
    await this.settle();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Waits until nothing runs any more: buffers and descriptors may be let go after it. Never throws. */
  async settle(): Promise<void> {
    await Promise.all(this.#running);
  }
}
