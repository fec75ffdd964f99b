import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import { MigrationError } from '../error.ts';

/** A stream of pages is read in pieces of this size: with 64 KiB the calls cost as much as the bytes. */
const READ_BYTES = 1024 * 1024;

interface Waiter {
  readonly resolve: (chunk: Uint8Array | undefined) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The reading half of a channel over a socket. The kernel's bytes go into one buffer that is used again for
 * each chunk; reading stands still from one chunk until the next is asked for.
 *
 * `onread` must be given to the socket when it is made, before the reader knows the socket.
 */
export class SocketReader {
  readonly onread: OnReadOpts;
  #socket: Socket | undefined;
  #prefix: Uint8Array | undefined;
  /** Came before anybody asked. */
  #chunk: Uint8Array | undefined;
  #waiter: Waiter | undefined;
  #ended = false;
  #failure: Error | undefined;
  #discarding = false;
  #bytes = 0;

  /** @param prefix bytes that were taken from the socket beforehand; `read` gives them first */
  constructor(prefix?: Uint8Array) {
    this.#prefix = prefix;
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    this.onread = {
      buffer,
      callback: (lengthBytes) => this.#arrived(buffer.subarray(0, lengthBytes)),
    };
  }

  /** Bytes given to the caller. */
  get bytes(): number {
    return this.#bytes;
  }

  attach(socket: Socket): void {
    this.#socket = socket;
  }

  read(): Promise<Uint8Array | undefined> {
    if (this.#waiter !== undefined) {
      return Promise.reject(new MigrationError('internal', 'a second read of a channel at the same time'));
    }
    const chunk = this.#prefix ?? this.#chunk;
    if (chunk !== undefined) {
      if (this.#prefix === undefined) this.#chunk = undefined;
      this.#prefix = undefined;
      this.#bytes += chunk.byteLength;
      return Promise.resolve(chunk);
    }
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#ended) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
      this.#socket?.resume();
    });
  }

  /** Throws away what still comes, unless it is asked for: only to notice the peer's end. */
  discard(): void {
    this.#discarding = true;
    this.#forget();
    this.#socket?.resume();
  }

  /** No more bytes come. */
  end(): void {
    this.#ended = true;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.resolve(undefined);
  }

  /** What came before the failure can still be read, unless the failure is this side's own decision. */
  fail(error: Error, forget: boolean): void {
    this.#failure ??= error;
    if (forget) this.#forget();
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.reject(this.#failure);
  }

  #forget(): void {
    this.#prefix = undefined;
    this.#chunk = undefined;
  }

  /** Returns whether reading should go on. */
  #arrived(bytes: Uint8Array): boolean {
    const waiter = this.#waiter;
    if (waiter !== undefined) {
      this.#waiter = undefined;
      this.#bytes += bytes.byteLength;
      // Whoever discards reads on at once, over these bytes.
      waiter.resolve(this.#discarding ? Buffer.from(bytes) : bytes);
      return this.#discarding;
    }
    if (this.#discarding) return true;
    this.#chunk = bytes;
    return false;
  }
}

/**
 * Takes the connection out of a socket that was made elsewhere (accepted, or a child's output) and gives it
 * to one that reads through `onread`, which Node offers only for sockets that it connects.
 */
export function rewrap(socket: Socket, onread: OnReadOpts, mode: { readonly writable: boolean }): Socket {
  const holder = socket as unknown as { _handle: object | null };
  const handle = holder._handle;
  if (handle === null) throw new MigrationError('connection-lost', 'the connection is closed already');
  holder._handle = null;
  socket.destroy();
  const options = { handle, onread, allowHalfOpen: true, readable: true, writable: mode.writable };
  return new Socket(options as unknown as SocketConstructorOpts);
}
