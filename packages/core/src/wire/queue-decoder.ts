import { ByteQueue } from './byte-queue.ts';

/**
 * What the decoders have in common: a synchronous generator that reads a queue, gives messages, and gives
 * undefined when it starves. Chunks may have any size.
 */
export abstract class QueueDecoder<Message> {
  protected readonly queue: ByteQueue;
  readonly #messages: Generator<Message | undefined, void>;
  #error: unknown;

  constructor(channel: string, offset = 0) {
    this.queue = new ByteQueue(channel, offset);
    this.#messages = this.decode();
  }

  /** Absolute offset of the next undecoded byte. */
  get offset(): number {
    return this.queue.offset;
  }

  /** Adds the next chunk. It may be reused by the caller once `next()` gave undefined. */
  push(chunk: Uint8Array): void {
    this.queue.push(chunk);
  }

  /** The peer closed: nothing comes any more. */
  end(): void {
    this.queue.end();
  }

  /**
   * The next message; undefined when more bytes are needed, or nothing comes any more.
   * @throws MigrationError with channel and byte offset; every later call throws it again
   */
  next(): Message | undefined {
    if (this.#error !== undefined) throw this.#error;
    try {
      const message = this.queue.ready ? this.#messages.next().value : undefined;
      if (message !== undefined) return message as Message;
    } catch (error) {
      this.#error = error;
      throw error;
    }
    this.queue.retain();
    return undefined;
  }

  protected abstract decode(): Generator<Message | undefined, void>;
}
