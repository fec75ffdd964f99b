import * as fs from 'node:fs';
import { Socket } from 'node:net';
import { isatty } from 'node:tty';
import { MigrationError } from '../error.ts';
import type { ByteChannel } from './byte-channel.ts';
import { FileReadChannel, FileWriteChannel } from './file-channel.ts';
import { errnoOf } from './limits.ts';
import { SocketChannel } from './socket-channel.ts';
import { SocketReader } from './socket-reader.ts';

export interface DescriptorOptions {
  readonly name: string;
  /** Which way the stream goes; a socket carries answers the other way, a pipe or a file does not. */
  readonly direction: 'read' | 'write';
  readonly closeTimeoutMs?: number | undefined;
}

/**
 * A channel over an inherited descriptor: a connected socket, a pipe or a file (from its current position).
 * The channel owns the descriptor from here on and closes it.
 *
 * @throws MigrationError `connect-failed` or `listen-failed` when it is not open or nothing of these
 */
export function openDescriptor(fd: number, options: DescriptorOptions): ByteChannel {
  const { name, direction, closeTimeoutMs } = options;
  const refused = (message: string, found: string, cause?: unknown): MigrationError =>
    new MigrationError(direction === 'write' ? 'connect-failed' : 'listen-failed', message, {
      found,
      expected: 'a connected socket, a pipe or a file',
      channel: `fd:${fd}`,
      cause,
    });
  let stats: fs.Stats;
  try {
    stats = fs.fstatSync(fd);
  } catch (cause) {
    throw refused('the descriptor cannot be used', errnoOf(cause), cause);
  }
  if (stats.isSocket() || stats.isFIFO()) {
    const reads = stats.isSocket() || direction === 'read';
    const writable = stats.isSocket() || direction === 'write';
    const reader = reads ? new SocketReader() : undefined;
    try {
      const onread = reader === undefined ? {} : { onread: reader.onread };
      const socket = new Socket({ fd, readable: reads, writable, allowHalfOpen: true, ...onread });
      if (stats.isSocket()) socket.setNoDelay(true);
      return new SocketChannel({
        name,
        socket,
        ...(reader === undefined ? {} : { reader }),
        writable,
        closeTimeoutMs,
      });
    } catch (cause) {
      throw refused('the descriptor cannot be used', errnoOf(cause), cause);
    }
  }
  if (stats.isDirectory()) throw refused('the descriptor is a directory', `fd ${fd}`);
  if (isatty(fd)) throw refused('the descriptor is a terminal', `fd ${fd}`);
  const file = { fd, path: `fd:${fd}` };
  return direction === 'write' ? new FileWriteChannel(name, file) : new FileReadChannel(name, file);
}
