/** How long the event loop may be held, ms. */
const BREATH_MS = 20;

/** A fast peer takes everything at once: the event loop gets its turn all the same. */
export class Breath {
  readonly #signal: AbortSignal;
  #nextMs = 0;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** To be awaited between two pieces of work. Rejects when the migration has ended meanwhile. */
  async take(): Promise<void> {
    if (performance.now() < this.#nextMs) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#signal.throwIfAborted();
    this.#nextMs = performance.now() + BREATH_MS;
  }
}
