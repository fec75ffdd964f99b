/** The page bitmaps of a mapped-ram file (layout in wire/mapped-ram-layout.ts), bytewise. */

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
