import { COMPRESSED_PAGE_LIMIT_BYTES } from '@pageferry/core/wire';

/*
 * A slot of the decompress threads, all written by the coordinator:
 *
 *     0  u32      number of pages, 4 bytes of nothing
 *     8  f64[64]  where the zlib stream begins in the main channel: for errors
 *   520  u32[64]  index of the block
 *   776  u32[64]  page number
 *  1032  u32[64]  bytes of the zlib stream
 *  1288           the zlib streams, one behind the other
 */

const BATCH_PAGES = 64;
const HEAD_BYTES = 8 + BATCH_PAGES * (8 + 4 + 4 + 4);
/** A batch is as long as fits: most pages are compressed to less than half. */
const STREAMS_BYTES = 128 * 1024;
export const DECOMPRESS_SLOT_BYTES = HEAD_BYTES + STREAMS_BYTES;

export class DecompressSlot {
  readonly offsets: Float64Array<SharedArrayBuffer>;
  readonly blocks: Uint32Array<SharedArrayBuffer>;
  readonly pages: Uint32Array<SharedArrayBuffer>;
  readonly lengths: Uint32Array<SharedArrayBuffer>;
  readonly streams: Buffer<SharedArrayBuffer>;
  readonly #count: Uint32Array<SharedArrayBuffer>;
  /** The coordinator's: bytes of streams so far. */
  #used = 0;

  constructor(memory: SharedArrayBuffer, slot: number) {
    const at = slot * DECOMPRESS_SLOT_BYTES;
    this.#count = new Uint32Array(memory, at, 1);
    this.offsets = new Float64Array(memory, at + 8, BATCH_PAGES);
    this.blocks = new Uint32Array(memory, at + 520, BATCH_PAGES);
    this.pages = new Uint32Array(memory, at + 776, BATCH_PAGES);
    this.lengths = new Uint32Array(memory, at + 1032, BATCH_PAGES);
    this.streams = Buffer.from(memory, at + HEAD_BYTES, STREAMS_BYTES);
  }

  get count(): number {
    return this.#count[0]!;
  }

  /** Whether the longest stream has no room any more. */
  get isFull(): boolean {
    return this.count === BATCH_PAGES || this.#used + COMPRESSED_PAGE_LIMIT_BYTES > STREAMS_BYTES;
  }

  clear(): void {
    this.#count[0] = 0;
    this.#used = 0;
  }

  add(blockIndex: number, page: number, bytes: Uint8Array, offset: number): void {
    const { count } = this;
    this.offsets[count] = offset;
    this.blocks[count] = blockIndex;
    this.pages[count] = page;
    this.lengths[count] = bytes.length;
    this.streams.set(bytes, this.#used);
    this.#used += bytes.length;
    this.#count[0] = count + 1;
  }
}
