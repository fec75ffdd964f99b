import { closeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { MigrationError } from '@pageferry/core';
import { takeDescriptor } from '../system/blocking-socket.ts';
import { loadSystemCalls } from '../system/system-calls.ts';
import type { ChannelIo } from './channel-io.ts';
import type { MovedConnection } from './receive-channel.ts';

/** A connection made ready for another thread. */
export interface DepartingConnection {
  readonly connection: MovedConnection;
  /** What to name in the transfer list. */
  readonly transfer: readonly object[];
  /** Closes it when it never got there. */
  readonly recall: () => void;
}

/**
 * Makes an accepted socket ready to move to another thread: as a duplicate of its descriptor, while the
 * original is destroyed. Without the system calls for that a TCP socket moves as it is, and a unix socket
 * cannot.
 *
 * @throws MigrationError `connection-lost` for a socket that is closed, `unsupported` for a unix socket where
 *   descriptors cannot be duplicated
 */
export async function departingConnection(
  channel: string,
  socket: Socket,
  io: ChannelIo,
): Promise<DepartingConnection> {
  const handle = (socket as Socket & { _handle: object | null })._handle;
  if (socket.destroyed || handle === null) {
    throw new MigrationError('connection-lost', 'the connection was closed before it was taken', { channel });
  }
  const isTcp = handle.constructor.name === 'TCP';
  const calls = io === 'event-loop' && isTcp ? undefined : await loadSystemCalls();
  if (calls !== undefined) {
    const fd = takeDescriptor(calls, socket);
    if (fd !== undefined) return { connection: { fd }, transfer: [], recall: () => closeSync(fd) };
    throw new MigrationError('connection-lost', 'the socket cannot be duplicated', { channel });
  }
  if (isTcp) return { connection: { socket }, transfer: [socket], recall: () => {} };
  socket.destroy();
  throw new MigrationError('unsupported', 'multifd over unix: sockets cannot be done here', {
    channel,
    expected: 'tcp:, or Linux with the optional module koffi',
  });
}
