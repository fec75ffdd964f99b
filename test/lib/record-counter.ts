import { StreamDecoder } from '@pageferry/core/wire';

/** Counts the records of a main stream as it passes. */
export class RecordCounter {
  readonly #decoder = new StreamDecoder();
  readonly #counts = new Map<string, number>();

  /** Takes the next bytes of the stream. */
  readonly push = (chunk: Uint8Array): void => {
    this.#decoder.push(chunk);
    for (let message = this.#decoder.next(); message !== undefined; message = this.#decoder.next()) {
      this.#counts.set(message.type, this.of(message.type) + 1);
    }
  };

  /** How many messages of that type there were. */
  of(type: string): number {
    return this.#counts.get(type) ?? 0;
  }
}
