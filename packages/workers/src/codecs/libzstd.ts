import { MigrationError } from '@pageferry/core';
import { type LibZstd, ZstdParameter } from '../system/libzstd.ts';
import {
  badPayload,
  checkLength,
  PACKET_PAGES_BYTES,
  type PageCompressor,
  type PageDecompressor,
  type PayloadPlace,
} from './codec.ts';

/**
 * zstd with a frame per packet, which every QEMU reads: the library then works on the pages where they lie,
 * without a window of its own to copy them to. The decompressor reads endless frames as well, QEMU's.
 */

/**
 * Up to this level a smaller window and hash table are worth more time than bytes: the matches stay in the processor's
 * caches, and the table (32 KiB) in its first one (measured in docs/codecs.md).
 */
const SMALL_TABLES_MAX_LEVEL = 1;
const SMALL_WINDOW_LOG = 18;
const SMALL_HASH_LOG = 13;
/** 32 MiB: what QEMU's highest level (20) asks of a decoder. */
const WINDOW_LOG_MAX = 25;
/** A byte of room behind the pages shows a payload that holds more than them. */
const SLACK_BYTES = 1;

/** @param level 0 is the library's default, 3 */
export function createFrameCompressor(library: LibZstd, level: number): FrameCompressor {
  return new FrameCompressor(library, level);
}

class FrameCompressor implements PageCompressor {
  readonly concurrency = 1;
  readonly takesGuestRam = true;
  readonly #library: LibZstd;
  readonly #context: unknown;
  readonly #addresses: AddressBook;
  #closed = false;

  constructor(library: LibZstd, level: number) {
    this.#library = library;
    this.#addresses = new AddressBook(library);
    const context = made(library.createCompressor());
    this.#context = context;
    library.setParameter(context, ZstdParameter.compressionLevel, level);
    if (level !== 0 && level <= SMALL_TABLES_MAX_LEVEL) {
      library.setParameter(context, ZstdParameter.windowLog, SMALL_WINDOW_LOG);
      library.setParameter(context, ZstdParameter.hashLog, SMALL_HASH_LOG);
    }
  }

  compress(pages: Uint8Array, target: Uint8Array): Uint8Array {
    const library = this.#library;
    const bytes = library.compressFrame(
      this.#context,
      this.#addresses.of(target),
      target.length,
      this.#addresses.of(pages),
      pages.length,
    );
    if (library.isError(bytes)) {
      throw new MigrationError('internal', 'zstd could not compress a packet', {
        found: library.errorName(bytes),
      });
    }
    return target.subarray(0, bytes);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#library.freeCompressor(this.#context);
  }
}

/** Accepts a frame per packet, QEMU's endless frame, and a frame per page. */
export function createFrameDecompressor(library: LibZstd): PageDecompressor {
  return new FrameDecompressor(library);
}

class FrameDecompressor implements PageDecompressor {
  readonly #library: LibZstd;
  readonly #context: unknown;
  readonly #addresses: AddressBook;
  readonly #pages = Buffer.alloc(PACKET_PAGES_BYTES + SLACK_BYTES);
  /** ZSTD_outBuffer and ZSTD_inBuffer: address, size and position, 64 bits each. */
  readonly #buffers = new BigUint64Array(6);
  readonly #outputAt: number;
  /** Inside a frame that spans packets. */
  #inFrame = false;
  #closed = false;

  constructor(library: LibZstd) {
    this.#library = library;
    this.#addresses = new AddressBook(library);
    this.#outputAt = library.addressOf(this.#buffers);
    const context = made(library.createDecompressor());
    this.#context = context;
    library.setDecoderParameter(context, ZstdParameter.windowLogMax, WINDOW_LOG_MAX);
  }

  decompress(payload: Uint8Array, expectedBytes: number, place: PayloadPlace): Uint8Array {
    const source = this.#addresses.of(payload);
    const pages = this.#pages.subarray(0, expectedBytes);
    if (this.#isOneFrame(source, payload.length, expectedBytes))
      this.#wholeFrame(source, payload, pages, place);
    else checkLength(this.#stream(source, payload.length, expectedBytes, place), expectedBytes, place);
    return pages;
  }

  decompressTo(payload: Uint8Array, target: Uint8Array, place: PayloadPlace): boolean {
    const source = this.#addresses.of(payload);
    if (!this.#isOneFrame(source, payload.length, target.length)) return false;
    this.#wholeFrame(source, payload, target, place);
    return true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#library.freeDecompressor(this.#context);
  }

  /** Exactly one frame, of exactly the pages: no window has to be kept for what follows. */
  #isOneFrame(source: number, bytes: number, expectedBytes: number): boolean {
    if (this.#inFrame) return false;
    const library = this.#library;
    return (
      library.contentBytes(source, bytes) === expectedBytes && library.frameBytes(source, bytes) === bytes
    );
  }

  #wholeFrame(source: number, payload: Uint8Array, target: Uint8Array, place: PayloadPlace): void {
    const library = this.#library;
    const produced = library.decompressFrame(
      this.#context,
      this.#addresses.of(target),
      target.length,
      source,
      payload.length,
    );
    if (library.isError(produced)) throw this.#unreadable(produced, place);
    checkLength(produced, target.length, place);
  }

  #stream(source: number, bytes: number, expectedBytes: number, place: PayloadPlace): number {
    const library = this.#library;
    const buffers = this.#buffers;
    buffers[0] = BigInt(this.#addresses.of(this.#pages));
    buffers[1] = BigInt(expectedBytes + SLACK_BYTES);
    buffers[2] = 0n;
    buffers[3] = BigInt(source);
    buffers[4] = BigInt(bytes);
    buffers[5] = 0n;
    // A call ends with the frame that it is in, or when one of the buffers is used up.
    while (buffers[5]! < buffers[4]! && buffers[2]! <= expectedBytes) {
      const taken: bigint = buffers[5]!;
      const given: bigint = buffers[2]!;
      const hint = library.decompressStream(this.#context, this.#outputAt, this.#outputAt + 24);
      if (library.isError(hint)) throw this.#unreadable(hint, place);
      this.#inFrame = hint !== 0;
      if (buffers[5] === taken && buffers[2] === given) {
        throw badPayload('zstd does not go on in the payload', place, {
          found: `a stop after ${taken} bytes`,
        });
      }
    }
    return Number(buffers[2]);
  }

  #unreadable(code: number, place: PayloadPlace): MigrationError {
    return badPayload('zstd cannot read the payload', place, { found: this.#library.errorName(code) });
  }
}

function made(context: unknown): unknown {
  if (context === null) throw new MigrationError('internal', 'zstd got no memory');
  return context;
}

/** Addresses of the few buffers that a channel works with: asking costs more than keeping. */
class AddressBook {
  readonly #library: LibZstd;
  readonly #known = new WeakMap<ArrayBufferLike, number>();

  constructor(library: LibZstd) {
    this.#library = library;
  }

  of(view: Uint8Array): number {
    let base = this.#known.get(view.buffer);
    if (base === undefined) {
      base = this.#library.addressOf(view.buffer);
      this.#known.set(view.buffer, base);
    }
    return base + view.byteOffset;
  }
}
