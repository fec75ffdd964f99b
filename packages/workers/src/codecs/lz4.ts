import { MigrationError } from '@pageferry/core';
import lz4 from 'lz4-napi';
import {
  badPayload,
  checkLength,
  type PageCompressor,
  type PageDecompressor,
  type PayloadPlace,
} from './codec.ts';
import { freeNativeMemory, takeOut } from './native-memory.ts';

/**
 * lz4 between two pageferrys. Each payload stands for itself (docs/protocol-extensions.md):
 *
 *   0  le32  bytes of the pages: normal pages * 4096
 *   4  ...   one LZ4 block
 */

const PREFIX_BYTES = 4;

export function createLz4Compressor(): PageCompressor {
  return {
    concurrency: 1,
    compress(pages: Uint8Array, target: Uint8Array): Uint8Array {
      let block: Buffer;
      try {
        block = lz4.compressSync(Buffer.from(pages.buffer, pages.byteOffset, pages.length));
      } catch (error) {
        throw MigrationError.from(error, 'internal');
      }
      return takeOut(block, target);
    },
    close(): void {},
  };
}

export function createLz4Decompressor(): PageDecompressor {
  return new Lz4Decompressor();
}

class Lz4Decompressor implements PageDecompressor {
  #pages: Buffer | undefined;

  decompress(payload: Uint8Array, expectedBytes: number, place: PayloadPlace): Uint8Array {
    this.close();
    if (payload.length < PREFIX_BYTES) {
      throw badPayload('the lz4 payload is too short', place, { found: `${payload.length} bytes` });
    }
    // The library allocates what the prefix says: it is checked first.
    const claimedBytes = new DataView(payload.buffer, payload.byteOffset).getUint32(0, true);
    if (claimedBytes !== expectedBytes) {
      throw badPayload('the lz4 payload is for another number of pages', place, {
        found: `${claimedBytes} bytes`,
        expected: `${expectedBytes} bytes`,
      });
    }
    try {
      this.#pages = lz4.uncompressSync(payload);
    } catch (error) {
      const found = error instanceof Error ? error.message : String(error);
      throw badPayload('lz4 cannot read the payload', place, { cause: error, found });
    }
    checkLength(this.#pages.length, expectedBytes, place);
    return this.#pages;
  }

  close(): void {
    if (this.#pages !== undefined) freeNativeMemory(this.#pages);
    this.#pages = undefined;
  }
}
