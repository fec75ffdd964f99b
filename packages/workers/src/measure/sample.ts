import { TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import type { MemorySource } from './memory-source.ts';
import { type PageRanges, RANGE_PAGES } from './page-ranges.ts';

/** Neighbouring ranges stay together, since a codec's window reaches back over packets: 4 MiB of memory. */
const STRETCH_RANGES = 8;
const GOLDEN_RATIO = (1 + Math.sqrt(5)) / 2;

/**
 * Pages that are not zero, as a migration's first pass comes upon them. The stretches of memory that they are from
 * are in such an order that any beginning of the sample is an even one too: who runs out of time stops early.
 */
export interface Sample {
  /** One page after the other; shared with the threads that measure. */
  readonly pages: SharedArrayBuffer;
  readonly pageCount: number;
  /** For each page: which 128 pages of memory it is from (a number in the sample) and its place in them. */
  readonly origins: readonly { readonly firstPage: number; readonly positions: Uint8Array }[];
}

/**
 * Reads an even sample of the pages that are not zero.
 *
 * @param maxPages at least this many when there are as many, at most 1024 more
 */
export async function takeSample(
  source: MemorySource,
  ranges: PageRanges,
  maxPages: number,
  checkCancelled: () => void,
): Promise<Sample> {
  const stretches = evenOrder(Math.ceil(ranges.length / STRETCH_RANGES));
  const chosen: number[] = [];
  let pageCount = 0;
  for (const stretch of stretches) {
    if (pageCount >= maxPages) break;
    const first = stretch * STRETCH_RANGES;
    for (let range = first; range < Math.min(ranges.length, first + STRETCH_RANGES); range++) {
      if (ranges.markedPages(range) === 0) continue;
      chosen.push(range);
      pageCount += ranges.markedPages(range);
    }
  }
  const pages = new SharedArrayBuffer(pageCount * TARGET_PAGE_BYTES);
  const target = Buffer.from(pages);
  const origins: { firstPage: number; positions: Uint8Array }[] = [];
  let page = 0;
  for (const range of chosen) {
    checkCancelled();
    const positions = new Uint8Array(ranges.markedPages(range));
    origins.push({ firstPage: page, positions });
    let found = 0;
    for (let position = 0; position < RANGE_PAGES; position++) {
      if (ranges.isMarked(range, position)) positions[found++] = position;
    }
    page = await readRuns(source, ranges, range, positions, target, page);
  }
  return { pages, pageCount, origins };
}

/** Reads the marked pages of a range, runs at once. Returns the number of the next page of the sample. */
async function readRuns(
  source: MemorySource,
  ranges: PageRanges,
  range: number,
  positions: Uint8Array,
  target: Buffer,
  firstPage: number,
): Promise<number> {
  let page = firstPage;
  for (let i = 0; i < positions.length; ) {
    let run = 1;
    while (i + run < positions.length && positions[i + run] === positions[i]! + run) run++;
    const at = page * TARGET_PAGE_BYTES;
    const offsetBytes = (ranges.firstPage(range) + positions[i]!) * TARGET_PAGE_BYTES;
    await source.read(ranges.block(range), offsetBytes, target.subarray(at, at + run * TARGET_PAGE_BYTES));
    i += run;
    page += run;
  }
  return page;
}

/** The numbers below `count`, so that any beginning of the list is spread evenly over them. */
export function evenOrder(count: number): number[] {
  const keys = Float64Array.from({ length: count }, (_, i) => (i * GOLDEN_RATIO) % 1);
  return Array.from({ length: count }, (_, i) => i).sort((a, b) => keys[a]! - keys[b]!);
}

/**
 * Cuts a sample into packets as a migration does: up to `packetPages` consecutive pages of memory, without those
 * that are zero.
 *
 * @returns for each packet its first page in the sample and its number of pages
 */
export function cutPackets(sample: Sample, packetPages: number): Uint32Array<SharedArrayBuffer> {
  const cuts: number[] = [];
  for (const { firstPage, positions } of sample.origins) {
    let start = 0;
    for (let i = 1; i <= positions.length; i++) {
      const same =
        i < positions.length &&
        Math.floor(positions[i]! / packetPages) === Math.floor(positions[start]! / packetPages);
      if (same) continue;
      cuts.push(firstPage + start, i - start);
      start = i;
    }
  }
  const packets = new Uint32Array(new SharedArrayBuffer(cuts.length * 4));
  packets.set(cuts);
  return packets;
}
