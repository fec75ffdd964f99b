import { closeSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { LinkProgress } from '../codecs/channel-link.ts';
import type { IoVector } from './io-vector.ts';
import { Errno, MessageFlag, type SystemCalls } from './system-calls.ts';

/** How long a call waits at most before its thread looks whether it was cancelled, ms. */
const SLICE_MS = 100;

/*
 * struct tcp_info, the first 184 bytes, as far as it is read here:
 *  120  u64  bytes acknowledged by the peer
 *  168  u64  us in which there was something to send or to be acknowledged
 *  176  u64  us of these in which the peer had no room
 */
const TCP_INFO_BYTES = 184;
const BYTES_ACKED = 120 / 4;
const BUSY_TIME = 168 / 4;
const WINDOW_LIMITED = 176 / 4;

/** A call on the socket failed. `errno` is Linux's. */
export class SocketError extends Error {
  readonly errno: number;

  constructor(what: string, errno: number) {
    super(`${what}: ${ERRNO_NAMES.get(errno) ?? `errno ${errno}`}`);
    this.errno = errno;
  }
}

const ERRNO_NAMES = new Map([
  [9, 'EBADF'],
  [14, 'EFAULT'],
  [32, 'EPIPE'],
  [104, 'ECONNRESET'],
  [107, 'ENOTCONN'],
  [110, 'ETIMEDOUT'],
  [111, 'ECONNREFUSED'],
  [113, 'EHOSTUNREACH'],
]);

/** What `receive` says at the end of the stream. */
export const END = -1;

/** What a blocking channel needs of its socket. */
export type ChannelSocket = Pick<BlockingSocket, 'send' | 'receive' | 'receiveNow' | 'end'>;

/** A connected stream socket whose thread waits inside the kernel, in slices. */
export class BlockingSocket {
  readonly #calls: SystemCalls;
  readonly #fd: number;
  readonly #info = new Uint32Array(TCP_INFO_BYTES / 4);
  #closed = false;

  /** Takes over a descriptor. @throws SocketError when it cannot be made to block */
  constructor(calls: SystemCalls, fd: number) {
    this.#calls = calls;
    this.#fd = fd;
    if (calls.setBlocking(fd, SLICE_MS)) return;
    const errno = calls.errno();
    this.close();
    throw new SocketError('the socket cannot be set up', errno);
  }

  /**
   * Sends what the kernel takes within a slice and leaves that out of the vector.
   *
   * @returns bytes sent, perhaps 0
   * @throws SocketError when the connection is gone
   */
  send(vector: IoVector): number {
    return this.#moved(
      'sendmsg',
      vector,
      this.#calls.sendMessage(this.#fd, vector.message, MessageFlag.noSignal),
    );
  }

  /**
   * Fills the vector as far as bytes come within a slice.
   *
   * @returns bytes received, perhaps 0, or END
   * @throws SocketError when the connection is gone
   */
  receive(vector: IoVector): number {
    const bytes = this.#calls.receiveMessage(this.#fd, vector.message, MessageFlag.waitAll);
    return bytes === 0 ? END : this.#moved('recvmsg', vector, bytes);
  }

  /** As `receive`, of what is there already. */
  receiveNow(vector: IoVector): number {
    const bytes = this.#calls.receiveMessage(this.#fd, vector.message, MessageFlag.dontWait);
    return bytes === 0 ? END : this.#moved('recvmsg', vector, bytes);
  }

  /**
   * How long the connection had something to carry, and how much arrived, since it was made. Returns false for
   * one that is not TCP, or a Linux before 4.10.
   */
  progress(into: LinkProgress): boolean {
    const info = this.#info;
    if (!this.#calls.tcpInfo(this.#fd, info)) return false;
    into.arrivedBytes = info[BYTES_ACKED]! + info[BYTES_ACKED + 1]! * 2 ** 32;
    // In us. While the receiver has no room the link has nothing to do.
    into.busyMs =
      (info[BUSY_TIME]! -
        info[WINDOW_LIMITED]! +
        (info[BUSY_TIME + 1]! - info[WINDOW_LIMITED + 1]!) * 2 ** 32) /
      1000;
    return true;
  }

  /** Tells the peer that nothing more comes. */
  end(): void {
    this.#calls.shutdownSend(this.#fd);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#calls.shutdownBoth(this.#fd);
    closeSync(this.#fd);
  }

  #moved(what: string, vector: IoVector, bytes: number): number {
    if (bytes >= 0) {
      vector.advance(bytes);
      return bytes;
    }
    const errno = this.#calls.errno();
    if (errno === Errno.again || errno === Errno.interrupted) return 0;
    throw new SocketError(what, errno);
  }
}

/**
 * A descriptor of our own for a connected socket; the socket itself is closed. Undefined when the socket has
 * none any more.
 */
export function takeDescriptor(calls: SystemCalls, socket: Socket): number | undefined {
  const handle = (socket as Socket & { _handle: { fd?: number } | null })._handle;
  const fd = handle?.fd ?? -1;
  const own = fd < 0 ? -1 : calls.dup(fd);
  socket.destroy();
  return own < 0 ? undefined : own;
}
