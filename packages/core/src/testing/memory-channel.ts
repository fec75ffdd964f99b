import type { ByteChannel } from '../transport/byte-channel.ts';

const HIGH_WATER_MARK_BYTES = 1024 * 1024;

/** One end of a duplex byte stream in memory; the other end is `peer`. For tests of the state machines. */
export class MemoryChannel implements ByteChannel {
  readonly name = 'main';
  readonly duplex: boolean;
  bytesWritten = 0;
  bytesRead = 0;
  peer: MemoryChannel;
  /** Called before each write is delivered; a test breaks the connection from here. */
  onWrite: (bytesSoFar: number) => void = () => {};
  /** When set nothing is delivered: a peer that reads nothing. */
  stuck = false;
  #inbox: Uint8Array[] = [];
  #ended = false;
  #failure: Error | undefined;
  readonly #failed = Promise.withResolvers<never>();
  readonly failed = this.#failed.promise;
  #wake = Promise.withResolvers<void>();

  private constructor(duplex: boolean) {
    this.duplex = duplex;
    this.failed.catch(() => {});
    this.peer = this;
  }

  static pair(duplex = true): [MemoryChannel, MemoryChannel] {
    const one = new MemoryChannel(duplex);
    const other = new MemoryChannel(duplex);
    one.peer = other;
    other.peer = one;
    return [one, other];
  }

  write(bytes: Uint8Array): boolean {
    if (this.#failure !== undefined) return false;
    this.onWrite(this.bytesWritten);
    this.bytesWritten += bytes.length;
    this.peer.#inbox.push(bytes.slice());
    this.peer.#signal();
    return this.#queued() < HIGH_WATER_MARK_BYTES;
  }

  async drained(): Promise<void> {
    await this.#until(() => !this.stuck && this.#queued() < HIGH_WATER_MARK_BYTES);
  }

  async flushed(): Promise<void> {
    await this.#until(() => !this.stuck);
  }

  async read(): Promise<Uint8Array | undefined> {
    await this.#until(() => this.#inbox.length > 0 || this.#ended);
    const chunk = this.#inbox.shift();
    this.peer.#signal();
    this.bytesRead += chunk?.length ?? 0;
    return chunk;
  }

  async close(): Promise<void> {
    this.peer.#ended = true;
    this.peer.#signal();
  }

  destroy(error: Error): void {
    this.#failure ??= error;
    this.#failed.reject(error);
    this.peer.#ended = true;
    this.#signal();
    this.peer.#signal();
  }

  #queued(): number {
    return this.peer.#inbox.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  async #until(ready: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (ready()) return;
      await this.#wake.promise;
    }
  }

  #signal(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}
