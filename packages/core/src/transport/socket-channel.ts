import type { Socket } from 'node:net';
import { MigrationError } from '../error.ts';
import type { ByteChannel } from './byte-channel.ts';
import { errnoOf } from './limits.ts';
import type { SocketReader } from './socket-reader.ts';
import { WriteQueue } from './write-queue.ts';

/** How long a closing channel waits without progress for its bytes to be taken. */
const CLOSE_TIMEOUT_MS = 10_000;
/** How long a channel that has sent everything waits for the peer to close too. */
const LINGER_MS = 2_000;
/** How long after a failed write the peer's last words are still read: they may say why. */
const LAST_WORDS_MS = 250;

export interface SocketChannelOptions {
  readonly name: string;
  readonly socket: Socket;
  /** The reading half, whose `onread` the socket was made with; absent for a channel that is only written. */
  readonly reader?: SocketReader;
  readonly writable: boolean;
  readonly closeTimeoutMs?: number | undefined;
  /** May know better than the socket why it failed. */
  readonly explain?: (error: MigrationError) => Promise<Error>;
  /** Called at the peer's end, before it is reported; a rejection is reported in its place. */
  readonly atEnd?: () => Promise<void>;
}

/** A ByteChannel over a connected TCP or unix socket, or over a pipe. */
export class SocketChannel implements ByteChannel {
  readonly name: string;
  readonly duplex: boolean;
  readonly failed: Promise<never>;
  readonly #options: SocketChannelOptions;
  readonly #socket: Socket;
  readonly #reader: SocketReader | undefined;
  readonly #queue: WriteQueue;
  #reject: (error: Error) => void = () => {};
  #failure: Error | undefined;
  /** A failure is known but not reported yet. */
  #failing = false;
  #closed: Promise<void> | undefined;
  #lingering = false;
  #peerEnded = false;
  #onPeerEnd: () => void = () => {};

  constructor(options: SocketChannelOptions) {
    const { name, socket, reader, writable } = options;
    this.#options = options;
    this.#socket = socket;
    this.#reader = reader;
    this.name = name;
    this.duplex = reader !== undefined && writable;
    this.failed = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.failed.catch(() => {});
    this.#queue = new WriteQueue((batch, done) => this.#send(batch, done));
    socket.on('error', (error) => this.#broke(error, 'read', this.bytesRead));
    socket.on('close', () => {
      // A pipe that is only read closes itself at its end; the reader of one that is only written may have
      // all that it wants: if not, the next write fails.
      const over = this.#closed !== undefined || reader === undefined || (this.#peerEnded && !writable);
      if (!over) this.#broke(new Error('closed'), 'use', this.bytesRead);
      this.#ended();
    });
    socket.on('end', () => this.#ended());
    reader?.attach(socket);
    if (socket.readableEnded) this.#ended();
  }

  get bytesWritten(): number {
    return this.#queue.writtenBytes;
  }

  get bytesRead(): number {
    return this.#reader?.bytes ?? 0;
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#options.writable)
      throw new MigrationError('internal', `writing to ${this.name}, which is only read`);
    if (this.#closed !== undefined && this.#failure === undefined)
      throw new MigrationError('internal', `writing to ${this.name} after its end`);
    return this.#queue.write(bytes);
  }

  sendDirectly(send: (fd: number) => number): number | undefined {
    if (!this.#options.writable || this.#failing || this.#failure !== undefined) return undefined;
    if (this.#closed !== undefined || this.#queue.queuedBytes > 0) return undefined;
    const { fd = -1 } = (this.#socket as Socket & { _handle: { fd?: number } | null })._handle ?? {};
    if (fd < 0) return undefined;
    const bytes = send(fd);
    if (bytes > 0) this.#queue.count(bytes);
    return bytes;
  }

  drained(): Promise<void> {
    return this.#queue.drained();
  }

  flushed(): Promise<void> {
    return this.#queue.flushed();
  }

  read(): Promise<Uint8Array | undefined> {
    if (this.#reader === undefined) {
      return Promise.reject(
        new MigrationError('internal', `reading from ${this.name}, which is only written`),
      );
    }
    return this.#reader.read();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  destroy(error: Error): void {
    this.#fail(error, true);
  }

  /**
   * `_writev` and not `write`: the queue before it does all that the stream's own does, and a stream closes
   * itself on a failed write, with what the peer had said unread.
   */
  #send(batch: readonly Uint8Array[], done: (error?: Error | null) => void): void {
    const chunks = batch.map((chunk) => ({ chunk, encoding: 'buffer' as BufferEncoding }));
    this.#socket._writev!(chunks, (error) => {
      done(error);
      if (error) this.#broke(error, 'write', this.bytesWritten);
    });
  }

  /** The system says that the connection is no more. */
  #broke(cause: Error, operation: string, offset: number): void {
    if (this.#lingering) this.#ended();
    if (this.#lingering || this.#failing || this.#failure !== undefined) return;
    this.#failing = true;
    const { explain } = this.#options;
    const error = new MigrationError('connection-lost', 'the connection broke', {
      found: `${errnoOf(cause)} (${operation})`,
      channel: this.name,
      offset,
      cause,
    });
    if (explain !== undefined) {
      explain(error).then(
        (better) => this.#fail(better, false),
        () => this.#fail(error, false),
      );
    } else if (operation === 'write' && this.duplex && !this.#peerEnded && !this.#socket.destroyed) {
      const timer = setTimeout(() => this.#fail(error, false), LAST_WORDS_MS);
      this.#onPeerEnd = () => {
        clearTimeout(timer);
        this.#fail(error, false);
      };
    } else this.#fail(error, false);
  }

  #fail(error: Error, forget: boolean): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#queue.fail(error);
    this.#reader?.fail(error, forget);
    this.#reject(error);
    this.#socket.destroy();
    this.#onPeerEnd();
  }

  /** The peer sends no more; what it had sent is with the reader. */
  #ended(): void {
    if (this.#peerEnded) return;
    this.#peerEnded = true;
    const { atEnd } = this.#options;
    if (atEnd === undefined || this.#closed !== undefined) this.#reader?.end();
    else
      atEnd().then(
        () => this.#reader?.end(),
        (error: unknown) => this.#fail(MigrationError.from(error, 'connection-lost'), false),
      );
    this.#onPeerEnd();
  }

  async #close(): Promise<void> {
    try {
      if (this.#options.writable) await this.#flush();
      if (this.duplex) await this.#linger();
    } finally {
      this.#socket.destroy();
      this.#reader?.end();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Waits until everything is with the kernel, as long as something moves. */
  async #flush(): Promise<void> {
    const timeoutMs = this.#options.closeTimeoutMs ?? CLOSE_TIMEOUT_MS;
    let seen = this.bytesWritten;
    const timer = setInterval(() => {
      if (this.bytesWritten === seen) {
        const error = new MigrationError('stall-timeout', `the peer took nothing for ${timeoutMs} ms`, {
          found: `${this.#queue.queuedBytes} bytes not sent at the close`,
          channel: this.name,
          offset: this.bytesWritten,
        });
        this.#fail(error, true);
      }
      seen = this.bytesWritten;
    }, timeoutMs);
    try {
      await this.#queue.flushed();
    } finally {
      clearInterval(timer);
    }
  }

  /**
   * Ends the write direction and waits for the peer's end: closing with bytes unread would reset the
   * connection under what is on its way. How the peer ends does not matter any more.
   */
  async #linger(): Promise<void> {
    if (this.#failure !== undefined) return;
    this.#lingering = true;
    this.#socket.end();
    if (this.#peerEnded) return;
    this.#reader?.discard();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(
        resolve,
        Math.min(LINGER_MS, this.#options.closeTimeoutMs ?? CLOSE_TIMEOUT_MS),
      );
      this.#onPeerEnd = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
