import { lookup } from 'node:dns/promises';
import { isIP, type NetConnectOpts, connect as netConnect, type OnReadOpts, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '../error.ts';
import type { ByteChannel } from './byte-channel.ts';
import { openCommand } from './exec-channel.ts';
import { openDescriptor } from './fd-channel.ts';
import { FileWriteChannel, openFileAddress } from './file-channel.ts';
import { cancellation, errnoOf, within } from './limits.ts';
import { SocketChannel } from './socket-channel.ts';
import { SocketReader } from './socket-reader.ts';
import {
  addressFamily,
  formatUri,
  type MigrationAddress,
  type SocketAddress,
  type TcpAddress,
} from './uri.ts';

export interface ConnectOptions {
  /** For the whole attempt, name resolution and all addresses of a name included. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface ConnectChannelOptions extends ConnectOptions {
  /** The channel's name in messages; `main` if absent. */
  readonly name?: string;
  /** How long a closing channel waits without progress for its bytes to be taken; 10 s if absent. */
  readonly closeTimeoutMs?: number;
}

/**
 * Opens the outgoing main channel: connects, creates the file, starts the command or takes the descriptor.
 *
 * @throws MigrationError `connect-failed`, `connect-timeout`, `file-failed`, `bad-uri` for an address that can
 *   only be listened on, or `cancelled`
 */
export async function connect(
  address: MigrationAddress,
  options: ConnectChannelOptions,
): Promise<ByteChannel> {
  const { name = 'main', timeoutMs, signal, closeTimeoutMs } = options;
  const onTimeout = (): MigrationError => tooLate(address, timeoutMs);
  const limit = { signal, time: { limitMs: timeoutMs, onTimeout } };
  const abandon = (channel: ByteChannel): void => channel.destroy(onTimeout());
  if (signal?.aborted) throw cancellation(signal);
  switch (address.transport) {
    case 'tcp':
    case 'unix': {
      const reader = new SocketReader();
      const socket = await connectSocket(address, { timeoutMs, signal, onread: reader.onread });
      return new SocketChannel({ name, socket, reader, writable: true, closeTimeoutMs });
    }
    case 'file': {
      const opening = openFileAddress(address, 'write').then((file) => new FileWriteChannel(name, file));
      return within<ByteChannel>(opening, { ...limit, onLate: abandon });
    }
    case 'exec': {
      const starting = openCommand(address.command, { name, direction: 'write', closeTimeoutMs });
      return within(starting, { ...limit, onLate: abandon });
    }
    case 'fd':
      return openDescriptor(address.fd, { name, direction: 'write', closeTimeoutMs });
  }
}

/**
 * Connects a socket. Each address of a name is tried, as QEMU does it, with an equal share of the time that
 * is left. The socket can be written after the peer's end (half open) and has no listeners yet.
 *
 * @param options `onread` as Node's `net.connect` takes it, to read into memory of the caller's choice
 * @throws MigrationError `connect-failed`, `connect-timeout`, `bad-uri` or `cancelled`
 */
export async function connectSocket(
  address: SocketAddress,
  options: ConnectOptions & { readonly onread?: OnReadOpts },
): Promise<Socket> {
  const { timeoutMs, signal, onread } = options;
  if (signal?.aborted) throw cancellation(signal);
  const deadline = performance.now() + timeoutMs;
  const targets = address.transport === 'unix' ? [{ path: address.path }] : await resolve(address, options);
  let lastError: unknown;
  for (const [index, target] of targets.entries()) {
    const shareMs = (deadline - performance.now()) / (targets.length - index);
    if (shareMs <= 0) break;
    try {
      return await attempt(
        { ...target, ...(onread === undefined ? {} : { onread }) },
        address,
        shareMs,
        signal,
      );
    } catch (error) {
      if (signal?.aborted) throw error;
      // Of several failures a definite one says more than a silent address.
      if (lastError === undefined || !(error instanceof MigrationError)) lastError = error;
    }
  }
  if (lastError instanceof MigrationError) throw lastError;
  if (lastError === undefined) throw tooLate(address, timeoutMs);
  throw new MigrationError('connect-failed', `cannot connect to ${formatUri(address)}`, {
    found: errnoOf(lastError),
    phase: 'connect',
    cause: lastError,
  });
}

interface TcpTarget {
  readonly host: string;
  readonly port: number;
  readonly keepAlive: boolean;
}

async function resolve(address: TcpAddress, options: ConnectOptions): Promise<TcpTarget[]> {
  const { host, port, to, keepAlive = false } = address;
  const unusable = (message: string, found: string): MigrationError =>
    new MigrationError('bad-uri', message, {
      found: `'${found}'`,
      expected: 'one port to connect to',
      phase: 'setup',
    });
  if (port === 0) throw unusable('port 0 is only for listening', formatUri(address));
  if (to !== undefined) throw unusable('the option to= is only for listening', formatUri(address));
  if (isIP(host) !== 0) return [{ host, port, keepAlive }];
  const looking = lookup(host === '' ? 'localhost' : host, { all: true, family: addressFamily(address) });
  try {
    const found = await within(looking, {
      signal: options.signal,
      time: { limitMs: options.timeoutMs, onTimeout: () => tooLate(address, options.timeoutMs) },
    });
    return found.map((entry) => ({ host: entry.address, port, keepAlive }));
  } catch (error) {
    if (error instanceof MigrationError) throw error;
    throw new MigrationError('connect-failed', `the host of ${formatUri(address)} cannot be resolved`, {
      found: errnoOf(error),
      phase: 'connect',
      cause: error,
    });
  }
}

/** How often a unix listener whose queue is full is tried again: the kernel does not wait for a place there. */
const QUEUE_FULL_RETRY_MS = 10;

async function attempt(
  target: (TcpTarget | { readonly path: string }) & { readonly onread?: OnReadOpts },
  address: SocketAddress,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Socket> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const leftMs = deadline - performance.now();
    const socket = netConnect({ ...target, noDelay: true, allowHalfOpen: true } as NetConnectOpts);
    const connected = new Promise<Socket>((resolve, reject) => {
      socket.once('connect', () => resolve(socket));
      socket.once('error', reject);
    });
    try {
      await within(connected, {
        signal,
        time: { limitMs: leftMs, onTimeout: () => tooLate(address, timeoutMs) },
      });
      socket.removeAllListeners('error');
      return socket;
    } catch (error) {
      socket.on('error', () => {});
      socket.destroy();
      if (errnoOf(error) !== 'EAGAIN') throw error;
      if (leftMs <= QUEUE_FULL_RETRY_MS) throw tooLate(address, timeoutMs);
    }
    await delay(QUEUE_FULL_RETRY_MS);
  }
}

function tooLate(address: MigrationAddress, timeoutMs: number): MigrationError {
  const message = `no connection to ${formatUri(address)} within ${Math.round(timeoutMs)} ms`;
  return new MigrationError('connect-timeout', message, { phase: 'connect' });
}
