import { closeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { MigrationError } from '@pageferry/core';
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
 * Makes an accepted socket ready to move to another thread. Node moves TCP sockets only; of a unix socket a
 * duplicate of the descriptor goes there, and the original is destroyed.
 *
 * @throws MigrationError `connection-lost` for a socket that is closed, `unsupported` for a unix socket where
 *   descriptors cannot be duplicated
 */
export async function departingConnection(channel: string, socket: Socket): Promise<DepartingConnection> {
  const handle = (socket as Socket & { _handle: { fd?: number } | null })._handle;
  if (socket.destroyed || handle === null) {
    throw new MigrationError('connection-lost', 'the connection was closed before it was taken', { channel });
  }
  if (handle.constructor.name === 'TCP') {
    return { connection: { socket }, transfer: [socket], recall: () => {} };
  }
  try {
    const fd = await duplicate(handle.fd, channel);
    return { connection: { fd }, transfer: [], recall: () => closeSync(fd) };
  } finally {
    socket.destroy();
  }
}

/** The C library's dup, once koffi is loaded. */
let dup: ((fd: number) => number) | undefined;

async function duplicate(fd: number | undefined, channel: string): Promise<number> {
  const expected = 'tcp:, or Linux with the optional module koffi';
  if (fd === undefined || fd < 0) {
    throw new MigrationError('unsupported', 'multifd over unix: sockets needs their descriptors', {
      channel,
      expected,
    });
  }
  try {
    if (dup === undefined) {
      const { default: koffi } = await import('koffi');
      dup = koffi.load(null).func('int dup(int)') as (fd: number) => number;
    }
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new MigrationError('unsupported', 'multifd over unix: sockets cannot be done here', {
      channel,
      found,
      expected,
      cause,
    });
  }
  const copy = dup(fd);
  if (copy < 0) throw new MigrationError('connection-lost', 'the socket cannot be duplicated', { channel });
  return copy;
}
