import { compress } from '@mongodb-js/zstd/bindings.js';
import { MigrationError } from '@pageferry/core';
import type { PageCompressor } from './codec.ts';
import { takeOut } from './native-memory.ts';

/**
 * zstd with a complete frame per packet, which QEMU accepts as well as its own endless frame. Frames do not
 * depend on each other, so several are in work on the process's thread pool while the channel writes.
 *
 * There is no decompressor here: the library decompresses whole frames only, which QEMU does not send, and
 * into memory whose size the frame says.
 */

/** With more than three the channel holds more copies of pages and gains nothing: the thread pool has four threads. */
const FRAMES_IN_WORK = 3;

export function createMongodbZstdCompressor(level: number): PageCompressor {
  return {
    concurrency: FRAMES_IN_WORK,
    async compress(pages: Uint8Array, target: Uint8Array): Promise<Uint8Array> {
      let frame: Buffer;
      try {
        frame = await compress(Buffer.from(pages.buffer, pages.byteOffset, pages.length), level);
      } catch (error) {
        throw MigrationError.from(error, 'internal');
      }
      return takeOut(frame, target);
    },
    close(): void {},
  };
}
