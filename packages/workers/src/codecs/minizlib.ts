import { constants } from 'node:zlib';
import { MigrationError } from '@pageferry/core';
import {
  badPayload,
  checkLength,
  PACKET_PAGES_BYTES,
  type PageCompressor,
  type PageDecompressor,
  type PayloadPlace,
} from './codec.ts';
import { type NativeKind, type NativeOptions, NativeStream } from './native-stream.ts';
import { checkFlushMarker } from './zlib-payload.ts';

/**
 * zlib and zstd as QEMU does them: one stream per channel for the whole migration, flushed at the end of each
 * packet and never finished.
 */

/** A byte of room behind the pages shows a payload that holds more than them. */
const SLACK_BYTES = 1;
const MAX_PAYLOAD_BYTES = 1 << 20;
/** 32 MiB: what QEMU's highest level (20) asks of a decoder. The library's own limit is four times that. */
const ZSTD_WINDOW_LOG_MAX = 25;

const ZLIB_COMPRESS: NativeOptions = {
  flush: constants.Z_SYNC_FLUSH,
  maxOutputLength: MAX_PAYLOAD_BYTES,
  // 9 instead of 8: larger blocks before a flush of its own; measured in docs/codecs.md.
  memLevel: 9,
};
const ZLIB_DECOMPRESS: NativeOptions = {
  flush: constants.Z_SYNC_FLUSH,
  maxOutputLength: PACKET_PAGES_BYTES + SLACK_BYTES,
};
const ZSTD_DECOMPRESS: NativeOptions = {
  flush: constants.ZSTD_e_flush,
  maxOutputLength: PACKET_PAGES_BYTES + SLACK_BYTES,
  params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX },
};

/** @param direct see NativeStream */
export function createZlibCompressor(level: number, direct = true): PageCompressor {
  return new StreamCompressor('deflate', { ...ZLIB_COMPRESS, level }, direct);
}

/** @param level 0 is the library's default, 3 */
export function createZstdCompressor(level: number, direct = true): PageCompressor {
  const params = { [constants.ZSTD_c_compressionLevel]: level };
  const options = { flush: constants.ZSTD_e_flush, maxOutputLength: MAX_PAYLOAD_BYTES, params };
  return new StreamCompressor('zstd-compress', options, direct);
}

export function createZlibDecompressor(direct = true): PageDecompressor {
  return new ZlibDecompressor(direct);
}

export function createZstdDecompressor(direct = true): PageDecompressor {
  return new ZstdDecompressor(direct);
}

class StreamCompressor implements PageCompressor {
  readonly concurrency = 1;
  readonly #stream: NativeStream;
  readonly #kind: NativeKind;

  constructor(kind: NativeKind, options: NativeOptions, direct: boolean) {
    this.#kind = kind;
    this.#stream = new NativeStream(kind, options, direct);
  }

  compress(pages: Uint8Array, target: Uint8Array): Uint8Array {
    try {
      this.#stream.step(pages, 0, target, 0);
    } catch (error) {
      throw MigrationError.from(error, 'internal');
    }
    const { consumed, produced } = this.#stream;
    // A full target may hide output that is still to come, and the peer's buffer has no more room either.
    if (consumed !== pages.length || produced >= target.length) {
      throw new MigrationError('internal', `${this.#kind} made a payload above its limit`, {
        found: `${consumed} of ${pages.length} bytes in ${produced}`,
        expected: `less than ${target.length} bytes`,
      });
    }
    return target.subarray(0, produced);
  }

  close(): void {
    this.#stream.close();
  }
}

class ZlibDecompressor implements PageDecompressor {
  readonly #stream: NativeStream;
  readonly #pages = new Uint8Array(PACKET_PAGES_BYTES + SLACK_BYTES);

  constructor(direct: boolean) {
    this.#stream = new NativeStream('inflate', ZLIB_DECOMPRESS, direct);
  }

  decompress(payload: Uint8Array, expectedBytes: number, place: PayloadPlace): Uint8Array {
    checkFlushMarker(payload, place);
    const output = this.#pages.subarray(0, expectedBytes + SLACK_BYTES);
    try {
      this.#stream.step(payload, 0, output, 0);
    } catch (error) {
      throw badPayload('zlib cannot read the payload', place, { cause: error, found: messageOf(error) });
    }
    checkLength(this.#stream.produced, expectedBytes, place);
    if (this.#stream.consumed !== payload.length) {
      throw badPayload('the zlib stream ends inside the payload', place, {
        found: `its end after ${this.#stream.consumed} of ${payload.length} bytes`,
      });
    }
    return output.subarray(0, expectedBytes);
  }

  close(): void {
    this.#stream.close();
  }
}

/** Accepts one endless frame (QEMU), a frame per packet, and a frame per page. */
class ZstdDecompressor implements PageDecompressor {
  readonly #stream: NativeStream;
  readonly #pages = new Uint8Array(PACKET_PAGES_BYTES + SLACK_BYTES);

  constructor(direct: boolean) {
    this.#stream = new NativeStream('zstd-decompress', ZSTD_DECOMPRESS, direct);
  }

  decompress(payload: Uint8Array, expectedBytes: number, place: PayloadPlace): Uint8Array {
    const output = this.#pages.subarray(0, expectedBytes + SLACK_BYTES);
    let from = 0;
    let produced = 0;
    // A step ends with the frame that it is in.
    while (from < payload.length && produced <= expectedBytes) {
      try {
        this.#stream.step(payload, from, output, produced);
      } catch (error) {
        throw badPayload('zstd cannot read the payload', place, { cause: error, found: messageOf(error) });
      }
      if (this.#stream.consumed === 0 && this.#stream.produced === 0) {
        throw badPayload('zstd does not go on in the payload', place, {
          found: `a stop after ${from} bytes`,
        });
      }
      from += this.#stream.consumed;
      produced += this.#stream.produced;
    }
    checkLength(produced, expectedBytes, place);
    return output.subarray(0, expectedBytes);
  }

  close(): void {
    this.#stream.close();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
