import type { LibZstd } from '../../system/libzstd.ts';
import type { PageDecompressor, PayloadPlace } from '../codec.ts';
import { createFrameDecompressor } from '../libzstd.ts';
import { createLz4Decompressor } from '../lz4.ts';
import { createZstdDecompressor } from '../minizlib.ts';
import { openPayload, PayloadCodec } from './payload.ts';

/** @param library zstd by address; undefined where it cannot be had */
export function createAdaptiveDecompressor(library?: LibZstd): PageDecompressor {
  return new AdaptiveDecompressor(library);
}

class AdaptiveDecompressor implements PageDecompressor {
  /** A payload as long as its pages is these pages: it may be read to where they belong. */
  readonly takesRaw = true;
  readonly #library: LibZstd | undefined;
  /** By the codec's byte, made when it first comes. */
  readonly #decompressors = new Map<number, PageDecompressor>();

  constructor(library: LibZstd | undefined) {
    this.#library = library;
  }

  decompress(payload: Uint8Array, expectedBytes: number, place: PayloadPlace): Uint8Array {
    if (payload.length === expectedBytes) return payload;
    const { codec, body } = openPayload(payload, place);
    return this.#decompressor(codec).decompress(body, expectedBytes, place);
  }

  decompressTo(payload: Uint8Array, target: Uint8Array, place: PayloadPlace): boolean {
    if (payload.length === target.length) return false;
    const { codec, body } = openPayload(payload, place);
    return this.#decompressor(codec).decompressTo?.(body, target, place) ?? false;
  }

  close(): void {
    for (const decompressor of this.#decompressors.values()) decompressor.close();
    this.#decompressors.clear();
  }

  #decompressor(codec: number): PageDecompressor {
    let decompressor = this.#decompressors.get(codec);
    if (decompressor === undefined) {
      decompressor = this.#create(codec);
      this.#decompressors.set(codec, decompressor);
    }
    return decompressor;
  }

  #create(codec: number): PageDecompressor {
    if (codec === PayloadCodec.lz4) return createLz4Decompressor();
    return this.#library === undefined ? createZstdDecompressor() : createFrameDecompressor(this.#library);
  }
}
