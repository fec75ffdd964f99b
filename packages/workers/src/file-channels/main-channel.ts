import { MigrationError } from '@pageferry/core';
import { type AtomicFile, writeFully } from '@pageferry/core/capture';
import type { SeekableChannel } from '@pageferry/core/transport';

/** More than this in the queue, and the writer should wait. The main stream of a mapped-ram file is small. */
const HIGH_WATER_BYTES = 1024 * 1024;

/**
 * The main channel into a file that gets its name when the channel is closed: each piece goes to its position,
 * one after the other.
 */
export class FileMainChannel implements SeekableChannel {
  readonly name: string;
  readonly duplex = false;
  readonly bytesRead = 0;
  readonly failed: Promise<never>;
  bytesWritten = 0;
  position = 0;
  readonly #file: AtomicFile;
  readonly #reject: (error: Error) => void;
  /** Ends the closing: a file must not get its name any more. */
  readonly #stop = new AbortController();
  #queuedBytes = 0;
  #writes: Promise<void> = Promise.resolve();
  #failure: Error | undefined;
  #closed: Promise<void> | undefined;

  constructor(name: string, file: AtomicFile) {
    this.name = name;
    this.#file = file;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.failed = promise;
    this.#reject = reject;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#failure !== undefined) return true;
    if (this.#closed !== undefined)
      throw new MigrationError('internal', `writing to ${this.name} after its end`);
    const at = this.position;
    this.position += bytes.length;
    this.#queuedBytes += bytes.length;
    this.#writes = this.#writes.then(() => this.#write(bytes, at));
    return this.#queuedBytes <= HIGH_WATER_BYTES;
  }

  skipTo(position: number): void {
    if (position < this.position)
      throw new MigrationError('internal', `${this.name} cannot go back`, {
        found: `${position}`,
        expected: `at least ${this.position}`,
      });
    this.position = position;
  }

  async drained(): Promise<void> {
    if (this.#queuedBytes > HIGH_WATER_BYTES) await this.#writes;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async flushed(): Promise<void> {
    await this.#writes;
    if (this.#failure !== undefined) throw this.#failure;
  }

  read(): Promise<Uint8Array | undefined> {
    return Promise.reject(new MigrationError('internal', `reading from ${this.name}, which is only written`));
  }

  /** Brings the whole file to the disk and gives it its name. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Stops writing. The file is removed by whoever made it. */
  destroy(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#stop.abort();
    this.#reject(error);
  }

  async #write(bytes: Uint8Array, at: number): Promise<void> {
    if (this.#failure !== undefined) return;
    try {
      await writeFully(this.#file.handle, this.#file.path, bytes, at);
      this.bytesWritten += bytes.length;
      this.#queuedBytes -= bytes.length;
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  async #close(): Promise<void> {
    await this.flushed();
    try {
      await this.#file.commit(this.#stop.signal);
    } catch (error) {
      this.destroy(error as Error);
    }
    if (this.#failure !== undefined) throw this.#failure;
  }
}
