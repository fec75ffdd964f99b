import type { Progress } from '@pageferry/core/control';

/**
 * Progress as an async iterator. A slow reader misses reports and gets the newest; a reader that comes
 * late gets the last one. Ends when the migration ends, however it ends.
 */
export class ProgressFeed implements AsyncIterable<Progress> {
  #latest: Progress | undefined;
  #sequence = 0;
  #ended = false;
  #changed = Promise.withResolvers<void>();

  push(progress: Progress): void {
    this.#latest = progress;
    this.#sequence++;
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Progress, void, void> {
    let seen = 0;
    for (;;) {
      const changed = this.#changed.promise;
      if (this.#sequence > seen && this.#latest !== undefined) {
        seen = this.#sequence;
        yield this.#latest;
      } else if (this.#ended) {
        return;
      } else {
        await changed;
      }
    }
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
