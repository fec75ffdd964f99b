import type { BenchRegion, BenchReport } from '../report.ts';

/** Classes of compressibility, from what compression does not help to what is nearly nothing on the wire. */
export const BUCKETS: readonly { readonly below: number; readonly label: string }[] = [
  { below: 1.05, label: '< 1.05' },
  { below: 1.5, label: '1.05–1.5' },
  { below: 2, label: '1.5–2' },
  { below: 3, label: '2–3' },
  { below: 5, label: '3–5' },
  { below: Number.POSITIVE_INFINITY, label: '≥ 5' },
];

/** Index in `BUCKETS`; undefined for a region of zero pages only. */
export function bucketOf({ ratio }: BenchRegion): number | undefined {
  if (ratio === undefined || Number.isNaN(ratio)) return undefined;
  const bucket = BUCKETS.findIndex(({ below }) => ratio < below);
  return bucket < 0 ? BUCKETS.length - 1 : bucket;
}

/** 0 to 1, also where the report says otherwise. */
export function zeroShareOf({ zeroShare, ratio }: BenchRegion): number {
  if (ratio === undefined) return 1;
  return Number.isFinite(zeroShare) ? Math.min(1, Math.max(0, zeroShare)) : 0;
}

/** What a set of regions is made of. */
export interface Summary {
  readonly regions: number;
  readonly bytes: number;
  readonly zeroBytes: number;
  /** Of the non-zero pages together; undefined without any. */
  readonly ratio: number | undefined;
  readonly buckets: readonly { readonly regions: number; readonly bytes: number }[];
}

export function summarise(regions: readonly BenchRegion[]): Summary {
  const buckets = BUCKETS.map(() => ({ regions: 0, bytes: 0 }));
  let all = 0;
  let zeroBytes = 0;
  let dense = 0;
  let compressed = 0;
  for (const region of regions) {
    const zero = region.bytes * zeroShareOf(region);
    all += region.bytes;
    zeroBytes += zero;
    const bucket = buckets[bucketOf(region) ?? -1];
    if (bucket === undefined) continue;
    bucket.regions++;
    bucket.bytes += region.bytes - zero;
    dense += region.bytes - zero;
    if (region.ratio! > 0) compressed += (region.bytes - zero) / region.ratio!;
  }
  const ratio = compressed > 0 ? dense / compressed : undefined;
  return { regions: regions.length, bytes: all, zeroBytes, ratio, buckets };
}

/** The regions of one RAM block (or file), in address order. */
export interface RegionBlock {
  readonly name: string;
  readonly regions: readonly BenchRegion[];
}

export function blocksOf(report: BenchReport): RegionBlock[] {
  const blocks = new Map<string, BenchRegion[]>();
  for (const region of report.regions) {
    const regions = blocks.get(region.block);
    if (regions === undefined) blocks.set(region.block, [region]);
    else regions.push(region);
  }
  return Array.from(blocks, ([name, regions]) => ({
    name,
    regions: regions.sort((a, b) => a.offsetBytes - b.offsetBytes),
  }));
}
