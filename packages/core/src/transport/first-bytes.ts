import * as fs from 'node:fs';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '../error.ts';
import { STREAM_MAGIC } from '../wire/configuration.ts';
import { decodeMultifdHandshake, MULTIFD_HANDSHAKE_BYTES, MULTIFD_MAGIC } from '../wire/multifd.ts';
import { cancellation, errnoOf } from './limits.ts';

const MAGIC_BYTES = 4;

const FIRST_RETRY_MS = 1;
/** Hundreds of silent connections must not keep a processor busy. */
const LAST_RETRY_MS = 100;

/** What a connection said that it is. */
export type FirstBytes =
  | { readonly kind: 'main'; readonly consumed: Uint8Array }
  | { readonly kind: 'multifd'; readonly channel: number; readonly uuid: Uint8Array };

/**
 * Tells an accepted connection by its first bytes, which it takes from the descriptor and not through the
 * socket: a socket through which anything was read cannot move to another thread. The descriptor does not
 * block and cannot be waited for, so it is asked again and again, less and less often.
 *
 * Takes 4 bytes of a main stream, and the 64 bytes of a multifd channel's handshake.
 *
 * @param socket paused, unread
 * @param signal when aborted, the descriptor is not touched again
 * @throws MigrationError `channel-timeout`, `truncated`, `bad-magic`, `connection-lost`, `unsupported`, what
 *   the handshake's decoder throws, or `cancelled`
 */
export async function readFirstBytes(
  socket: Socket,
  name: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<FirstBytes> {
  const fd = descriptorOf(socket);
  const deadline = performance.now() + timeoutMs;
  const bytes = Buffer.alloc(MULTIFD_HANDSHAKE_BYTES);
  let have = 0;
  let want = MAGIC_BYTES;
  for (let retryMs = FIRST_RETRY_MS; ; ) {
    if (signal.aborted || socket.destroyed) throw cancellation(signal);
    const got = readNow(fd, bytes, have, want, name);
    if (got === 0) {
      throw new MigrationError('truncated', 'the connection ended before it said what it is', {
        found: described(bytes, have),
        channel: name,
        offset: have,
      });
    }
    if (got !== undefined) {
      have += got;
      retryMs = FIRST_RETRY_MS;
    }
    if (have === MAGIC_BYTES && want === MAGIC_BYTES) {
      const magic = bytes.readUInt32BE(0);
      if (magic === STREAM_MAGIC) return { kind: 'main', consumed: bytes.subarray(0, MAGIC_BYTES) };
      if (magic !== MULTIFD_MAGIC) {
        throw new MigrationError('bad-magic', 'neither a migration stream nor a multifd channel', {
          found: `0x${bytes.toString('hex', 0, MAGIC_BYTES)}`,
          expected: '0x5145564d or 0x11223344',
          channel: name,
          offset: 0,
        });
      }
      want = MULTIFD_HANDSHAKE_BYTES;
      continue;
    }
    if (have === MULTIFD_HANDSHAKE_BYTES) return { kind: 'multifd', ...decodeMultifdHandshake(bytes, name) };
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) {
      throw new MigrationError('channel-timeout', `a connection did not say in ${timeoutMs} ms what it is`, {
        found: described(bytes, have),
        expected: `${want} bytes`,
        channel: name,
        offset: have,
      });
    }
    if (got === undefined) {
      await delay(Math.min(retryMs, Math.max(leftMs, 1)), undefined, { signal }).catch(() => {});
      retryMs = Math.min(retryMs * 1.2, LAST_RETRY_MS);
    }
  }
}

/** The number of bytes read, 0 at the end, undefined when nothing is there yet. */
function readNow(fd: number, bytes: Buffer, have: number, want: number, name: string): number | undefined {
  try {
    return fs.readSync(fd, bytes, have, want - have, null);
  } catch (cause) {
    const found = errnoOf(cause);
    if (found === 'EAGAIN' || found === 'EINTR') return undefined;
    throw new MigrationError('connection-lost', 'the connection broke before it said what it is', {
      found,
      channel: name,
      offset: have,
      cause,
    });
  }
}

function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle: { readonly fd?: number } | null };
  const fd = handle?.fd;
  if (fd === undefined || fd < 0) {
    throw new MigrationError(
      'unsupported',
      'this platform does not give descriptors of sockets, by which channels are told apart',
    );
  }
  return fd;
}

function described(bytes: Buffer, lengthBytes: number): string {
  return lengthBytes === 0 ? 'nothing' : `${lengthBytes} bytes: 0x${bytes.toString('hex', 0, lengthBytes)}`;
}
