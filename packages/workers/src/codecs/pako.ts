import { MigrationError } from '@pageferry/core';
import {
  Z_BUF_ERROR,
  Z_OK,
  Z_STREAM_END,
  Z_SYNC_FLUSH,
  ZStream,
  zlibDeflate,
  zlibDeflateEnd,
  zlibDeflateInit,
  zlibInflate,
  zlibInflateEnd,
  zlibInflateInit,
} from 'pako';
import {
  badPayload,
  checkLength,
  PACKET_PAGES_BYTES,
  type PageCompressor,
  type PageDecompressor,
  type PayloadPlace,
} from './codec.ts';
import { checkFlushMarker } from './zlib-payload.ts';

/**
 * QEMU's zlib stream in pure JavaScript, for where there is no native zlib. Through pako's low-level calls
 * and not its Deflate and Inflate classes, which collect their output in chunks without a bound.
 */

const SLACK_BYTES = 1;

export function createPakoCompressor(level: number): PageCompressor {
  return new PakoCompressor(level);
}

export function createPakoDecompressor(): PageDecompressor {
  return new PakoDecompressor();
}

class PakoCompressor implements PageCompressor {
  readonly concurrency = 1;
  readonly #stream = new ZStream();

  constructor(level: number) {
    const status = zlibDeflateInit(this.#stream, level);
    if (status !== Z_OK) throw new MigrationError('internal', `pako does not start: status ${status}`);
  }

  compress(pages: Uint8Array, target: Uint8Array): Uint8Array {
    const stream = this.#stream;
    feed(stream, pages, target as Uint8Array<ArrayBuffer>);
    const status = zlibDeflate(stream, Z_SYNC_FLUSH);
    if (status !== Z_OK || stream.avail_in !== 0 || stream.avail_out === 0) {
      throw new MigrationError('internal', `pako cannot compress: status ${status} ${stream.msg}`);
    }
    return target.subarray(0, stream.next_out);
  }

  close(): void {
    zlibDeflateEnd(this.#stream);
  }
}

class PakoDecompressor implements PageDecompressor {
  readonly #stream = new ZStream();
  readonly #pages = new Uint8Array(PACKET_PAGES_BYTES + SLACK_BYTES);

  constructor() {
    const status = zlibInflateInit(this.#stream);
    if (status !== Z_OK) throw new MigrationError('internal', `pako does not start: status ${status}`);
  }

  decompress(payload: Uint8Array, expectedBytes: number, place: PayloadPlace): Uint8Array {
    checkFlushMarker(payload, place);
    const stream = this.#stream;
    const output = this.#pages.subarray(0, expectedBytes + SLACK_BYTES);
    feed(stream, payload, output);
    const status = zlibInflate(stream, Z_SYNC_FLUSH);
    // Z_BUF_ERROR: no progress was possible, which the lengths below tell better.
    if (status !== Z_OK && status !== Z_BUF_ERROR) {
      const what =
        status === Z_STREAM_END ? 'the zlib stream ends inside the payload' : 'pako cannot read it';
      throw badPayload(what, place, { found: `status ${status} ${stream.msg}`.trim() });
    }
    checkLength(stream.next_out, expectedBytes, place);
    if (stream.avail_in !== 0) {
      throw badPayload('the zlib payload is longer than its pages', place, {
        found: `${stream.avail_in} bytes left of ${payload.length}`,
      });
    }
    return output.subarray(0, expectedBytes);
  }

  close(): void {
    zlibInflateEnd(this.#stream);
  }
}

function feed(stream: ZStream, input: Uint8Array, output: Uint8Array<ArrayBuffer>): void {
  stream.input = input;
  stream.next_in = 0;
  stream.avail_in = input.length;
  stream.output = output;
  stream.next_out = 0;
  stream.avail_out = output.length;
}
