import { constants, zstdCompressSync } from 'node:zlib';
import { MigrationError } from '@pageferry/core';
import { isZeroPage, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import type { MemorySource } from './memory-source.ts';
import { PageRanges, RANGE_PAGES } from './page-ranges.ts';
import { type Sample, takeSample } from './sample.ts';

const RANGE_BYTES = RANGE_PAGES * TARGET_PAGE_BYTES;
/** Stretches that the map of the memory has at most, beside one for each block. */
const MAX_REGIONS = 1024;
/** Pages of each region that tell how well it compresses: groups of neighbours, spread over it. */
const REGION_GROUPS = 2;
const GROUP_PAGES = 8;
/** Pages that tell the share of incompressible ones. */
const JUDGED_PAGES = 2048;
/** A page that does not get smaller than this share of itself is incompressible. */
const INCOMPRESSIBLE_SHARE = 0.95;

const FAST_ZSTD = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/** A stretch of memory. */
export interface SurveyRegion {
  readonly block: string;
  readonly offsetBytes: number;
  readonly bytes: number;
  /** 0 to 1. */
  readonly zeroShare: number;
  /** By zstd 1, of some of its non-zero pages; undefined when it has none. */
  readonly ratio: number | undefined;
}

export interface Survey {
  readonly pages: number;
  /** Counted, or when only a part was read, what that part leads one to expect of the whole. */
  readonly zeroPages: number;
  /** Pages that were looked at. */
  readonly scannedPages: number;
  readonly regions: readonly SurveyRegion[];
  readonly sample: Sample;
  /** Share of pages that zstd 1, each page for itself, does not make smaller by 5 %. 0 to 1. */
  readonly incompressibleShare: number;
}

export interface SurveyOptions {
  /** How much of the non-zero pages is taken as the sample, bytes. */
  readonly sampleBytes: number;
  /** How much is read at most, spread evenly, bytes; all by default. */
  readonly scanBytes?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly doneBytes: number; readonly totalBytes: number }) => void;
}

/**
 * Reads the memory once: which pages are zero, how well each region compresses, and a sample of the others.
 *
 * @throws MigrationError `bad-file` when all of it is zero, `cancelled`, and what the source throws
 */
export async function surveyMemory(source: MemorySource, options: SurveyOptions): Promise<Survey> {
  const totalBytes = source.blocks.reduce((sum, { bytes }) => sum + bytes, 0);
  const scan = new Scan(source, options, totalBytes);
  await scan.run();
  const sampled = Math.ceil(options.sampleBytes / TARGET_PAGE_BYTES);
  const sample = await takeSample(source, scan.ranges, sampled, () => scan.checkCancelled());
  if (sample.pageCount === 0) {
    throw new MigrationError('bad-file', 'there is nothing to compress', {
      channel: source.name,
      found: 'zero pages only',
      expected: 'pages with content',
    });
  }
  const pages = totalBytes / TARGET_PAGE_BYTES;
  return {
    pages,
    zeroPages: Math.round((scan.zeroPages / scan.scannedPages) * pages),
    scannedPages: scan.scannedPages,
    regions: scan.regions,
    sample,
    incompressibleShare: judgePages(sample),
  };
}

/** The reading itself. */
class Scan {
  readonly ranges = new PageRanges();
  readonly regions: SurveyRegion[] = [];
  zeroPages = 0;
  scannedPages = 0;
  readonly #source: MemorySource;
  readonly #options: SurveyOptions;
  readonly #totalBytes: number;
  /** How much of each region is read. */
  readonly #share: number;
  readonly #chunk = Buffer.alloc(RANGE_BYTES);
  readonly #group = Buffer.alloc(REGION_GROUPS * GROUP_PAGES * TARGET_PAGE_BYTES);
  #doneBytes = 0;

  constructor(source: MemorySource, options: SurveyOptions, totalBytes: number) {
    this.#source = source;
    this.#options = options;
    this.#totalBytes = totalBytes;
    this.#share = Math.min(1, (options.scanBytes ?? totalBytes) / totalBytes);
  }

  checkCancelled(): void {
    const { signal } = this.#options;
    if (signal?.aborted !== true) return;
    throw new MigrationError('cancelled', 'cancelled by the caller', { cause: signal.reason });
  }

  async run(): Promise<void> {
    const ranges = Math.ceil(this.#totalBytes / RANGE_BYTES);
    const regionBytes = Math.ceil(ranges / MAX_REGIONS) * RANGE_BYTES;
    for (const [block, { bytes }] of this.#source.blocks.entries()) {
      for (let at = 0; at < bytes; at += regionBytes) {
        await this.#region(block, at, Math.min(regionBytes, bytes - at));
      }
    }
  }

  async #region(block: number, offsetBytes: number, bytes: number): Promise<void> {
    const scanned = Math.min(bytes, Math.ceil((bytes * this.#share) / RANGE_BYTES) * RANGE_BYTES);
    const groupStride = Math.ceil(scanned / TARGET_PAGE_BYTES / REGION_GROUPS);
    let taken = 0;
    let zeroPages = 0;
    for (let at = 0; at < scanned; at += RANGE_BYTES) {
      this.checkCancelled();
      const chunk = this.#chunk.subarray(0, Math.min(RANGE_BYTES, scanned - at));
      await this.#source.read(block, offsetBytes + at, chunk);
      this.ranges.add(block, (offsetBytes + at) / TARGET_PAGE_BYTES);
      for (let position = 0; position * TARGET_PAGE_BYTES < chunk.length; position++) {
        const start = position * TARGET_PAGE_BYTES;
        if (isZeroPage(chunk, start)) {
          zeroPages++;
          continue;
        }
        this.ranges.mark(position);
        // The first pages of each group's part of the region.
        const page = at / TARGET_PAGE_BYTES + position;
        const groups = Math.min(REGION_GROUPS, Math.floor(page / groupStride) + 1);
        if (taken >= groups * GROUP_PAGES) continue;
        chunk.copy(this.#group, taken * TARGET_PAGE_BYTES, start, start + TARGET_PAGE_BYTES);
        taken++;
      }
      this.#doneBytes += chunk.length;
      this.#options.onProgress?.({
        doneBytes: this.#doneBytes,
        totalBytes: Math.round(this.#totalBytes * this.#share),
      });
    }
    const pages = scanned / TARGET_PAGE_BYTES;
    this.zeroPages += zeroPages;
    this.scannedPages += pages;
    const group = this.#group.subarray(0, taken * TARGET_PAGE_BYTES);
    this.regions.push({
      block: this.#source.blocks[block]!.name,
      offsetBytes,
      bytes,
      zeroShare: zeroPages / pages,
      ratio: taken === 0 ? undefined : group.length / zstdCompressSync(group, FAST_ZSTD).length,
    });
    // Reading from memory takes no turn of the event loop: signals and timers get one.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function judgePages({ pages, pageCount }: Sample): number {
  const judged = Math.min(JUDGED_PAGES, pageCount);
  const page = Buffer.alloc(TARGET_PAGE_BYTES);
  let incompressible = 0;
  for (let i = 0; i < judged; i++) {
    const at = Math.floor((i * pageCount) / judged) * TARGET_PAGE_BYTES;
    Buffer.from(pages, at, TARGET_PAGE_BYTES).copy(page);
    if (zstdCompressSync(page, FAST_ZSTD).length > TARGET_PAGE_BYTES * INCOMPRESSIBLE_SHARE) incompressible++;
  }
  return incompressible / judged;
}
