import { COMPRESSED_PAGE_LIMIT_BYTES } from '@pageferry/core/wire';

/*
 * A slot of the compress threads:
 *
 *    0  u32      index of the block                 coordinator
 *    4  u32      number of pages                    coordinator
 *    8  u32      bytes of the records               worker
 *   12  u32      how many of them are ZERO records  worker
 *   16  u32[64]  page numbers                       coordinator
 *  272           records: COMPRESS_PAGE and ZERO, each with CONTINUE    worker
 */

export const COMPRESS_BATCH_PAGES = 64;
/** Word and length before the zlib stream. */
const RECORD_LIMIT_BYTES = 8 + 4 + COMPRESSED_PAGE_LIMIT_BYTES;
const HEAD_BYTES = 4 * (4 + COMPRESS_BATCH_PAGES);
const RECORDS_BYTES = COMPRESS_BATCH_PAGES * RECORD_LIMIT_BYTES;
export const COMPRESS_SLOT_BYTES = HEAD_BYTES + RECORDS_BYTES;

export class CompressSlot {
  /** Where the worker writes. */
  readonly records: Buffer<SharedArrayBuffer>;
  readonly pages: Uint32Array<SharedArrayBuffer>;
  readonly #head: Uint32Array<SharedArrayBuffer>;

  constructor(memory: SharedArrayBuffer, slot: number) {
    const at = slot * COMPRESS_SLOT_BYTES;
    this.#head = new Uint32Array(memory, at, 4);
    this.pages = new Uint32Array(memory, at + 16, COMPRESS_BATCH_PAGES);
    this.records = Buffer.from(memory, at + HEAD_BYTES, RECORDS_BYTES);
  }

  get blockIndex(): number {
    return this.#head[0]!;
  }

  get count(): number {
    return this.#head[1]!;
  }

  get recordsBytes(): number {
    return this.#head[2]!;
  }

  get zeroPages(): number {
    return this.#head[3]!;
  }

  fill(blockIndex: number, pages: Uint32Array, from: number, end: number): void {
    this.#head[0] = blockIndex;
    this.#head[1] = end - from;
    for (let i = from; i < end; i++) this.pages[i - from] = pages[i]!;
  }

  done(recordsBytes: number, zeroPages: number): void {
    this.#head[2] = recordsBytes;
    this.#head[3] = zeroPages;
  }
}
