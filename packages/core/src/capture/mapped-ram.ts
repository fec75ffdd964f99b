import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { MappedRamHeader } from '../wire/messages.ts';
import { MAPPED_RAM_HEADER_BYTES, MAPPED_RAM_VERSION, mappedRamBitmapBytes } from '../wire/ram-records.ts';

/*
 * Where a block's bytes are in a mapped-ram file (all offsets absolute):
 *
 *   entry       name and used length
 *   header      28 bytes
 *   bitmap      right behind the header; bit i (LSB of the first byte first) is page i; set: the page is in the
 *               pages region, clear: it is zero
 *   hole        up to the next MiB
 *   pages       used length bytes; page i at pagesOffset + i * 4096
 *   next entry  right behind
 */

const PAGES_ALIGNMENT_BYTES = 0x100000;

/** The header of a block as QEMU lays it out, for a header that starts at `headerOffset` of the file. */
export function layOutMappedRam(
  headerOffset: number,
  usedLengthBytes: number,
): { header: MappedRamHeader; endOffset: number } {
  const bitmapOffset = headerOffset + MAPPED_RAM_HEADER_BYTES;
  const bitmapEnd = bitmapOffset + mappedRamBitmapBytes(usedLengthBytes);
  const pagesOffset = Math.ceil(bitmapEnd / PAGES_ALIGNMENT_BYTES) * PAGES_ALIGNMENT_BYTES;
  const header = {
    version: MAPPED_RAM_VERSION,
    pageSizeBytes: TARGET_PAGE_BYTES,
    bitmapOffset,
    pagesOffset,
  };
  return { header, endOffset: pagesOffset + usedLengthBytes };
}

/** Consecutive pages. */
export interface PageRun {
  readonly first: number;
  readonly count: number;
}

/** The runs of set bits in ascending order, cut into pieces of at most `maxPages`. Padding bits are ignored. */
export function* setRuns(bitmap: Uint8Array, pageCount: number, maxPages: number): Generator<PageRun> {
  let page = 0;
  while (page < pageCount) {
    if (!isSet(bitmap, page)) {
      page = nextWith(bitmap, page, pageCount, true);
      continue;
    }
    const first = page;
    page = nextWith(bitmap, page, Math.min(pageCount, first + maxPages), false);
    yield { first, count: page - first };
  }
}

/** Sets the bits of a run. */
export function setRun(bitmap: Uint8Array, { first, count }: PageRun): void {
  for (let page = first; page < first + count; page++) bitmap[page >>> 3]! |= 1 << (page & 7);
}

function isSet(bitmap: Uint8Array, page: number): boolean {
  return (bitmap[page >>> 3]! & (1 << (page & 7))) !== 0;
}

/** First page from `from` on whose bit is `value`, or `end`. */
function nextWith(bitmap: Uint8Array, from: number, end: number, value: boolean): number {
  const skip = value ? 0x00 : 0xff;
  let page = from;
  while (page < end) {
    if ((page & 7) === 0 && bitmap[page >>> 3] === skip) page += 8;
    else if (isSet(bitmap, page) === value) return page;
    else page++;
  }
  return end;
}
