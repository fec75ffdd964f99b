import { setImmediate as nextTick } from 'node:timers/promises';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { isZeroPage } from '../memory/zero-page.ts';
import type { PageRun } from './mapped-ram.ts';

/** How much RAM is looked at before other work gets its turn; a run never crosses such a boundary. */
const SCAN_SLICE_PAGES = (64 * 1024 * 1024) / TARGET_PAGE_BYTES;

/** The runs of pages that are not all zeros, in ascending order, each of at most `maxPages`. */
export function* nonZeroRuns(
  bytes: Uint8Array,
  from: number,
  end: number,
  maxPages: number,
): Generator<PageRun> {
  let page = from;
  while (page < end) {
    if (isZeroPage(bytes, page * TARGET_PAGE_BYTES)) {
      page++;
      continue;
    }
    const first = page;
    const limit = Math.min(end, first + maxPages);
    do page++;
    while (page < limit && !isZeroPage(bytes, page * TARGET_PAGE_BYTES));
    yield { first, count: page - first };
  }
}

/** The slices in which a block is scanned; the thread's other work runs between two of them. */
export async function* scanSlices(pageCount: number): AsyncGenerator<{ from: number; end: number }> {
  for (let from = 0; from < pageCount; from += SCAN_SLICE_PAGES) {
    yield { from, end: Math.min(pageCount, from + SCAN_SLICE_PAGES) };
    await nextTick();
  }
}
