import type { BenchRegion, BenchReport } from '../../report.ts';
import {
  BUCKETS,
  blocksOf,
  bucketOf,
  type RegionBlock,
  type Summary,
  summarise,
  zeroShareOf,
} from '../buckets.ts';
import { NARROW, WIDE } from '../charts/layout.ts';
import { mapScale, regionMap } from '../charts/region-map.ts';
import { html, type Markup } from '../escape.ts';
import { ABSENT, address, barWidth, bytes, count, percent, plural, ratio } from '../figures.ts';
import { chip } from '../legend.ts';
import { type Column, folded, table } from '../tables.ts';

/** Regions in a row of the full table. */
const ACROSS = 8;

/** Where the RAM compresses: map, histogram, summary of each block, every region. */
export function regions(report: BenchReport): Markup {
  const blocks = blocksOf(report);
  if (blocks.length === 0) {
    return html`<section id="regions"><h2>Compressibility map</h2><p>No regions were measured.</p></section>\n`;
  }
  return html`<section id="regions"><h2>Compressibility map</h2>
<p>${mapScale(blocks)}, in address order from left to right and from top to bottom. The colour is the ratio of a region's non-zero pages by a fast codec; a cell is filled as far as its pages are not zero.</p>
<ul class="legend">${BUCKETS.map(({ label }, bucket) => html`<li>${chip(`b${bucket}`)}${label}</li>`)}<li>${chip('zero')}zero pages</li></ul>
<figure class="map">${regionMap(blocks, WIDE)}
${regionMap(blocks, NARROW)}</figure>
${histogram(summarise(report.regions))}
${blockTable(report, blocks)}
${folded(`All ${plural(report.regions.length, 'region')}`, html`${blocks.map((block, index) => regionTable(block, index))}`)}
</section>
`;
}

interface Bar {
  readonly label: string;
  readonly style: string;
  readonly regions: string;
  readonly bytes: number;
}

/** A block's name, which may be broken behind its slashes. */
function blockName(name: string): Markup {
  const [first = '', ...rest] = name.split('/');
  return html`<bdi>${first}${rest.map((part) => html`/<wbr>${part}`)}</bdi>`;
}

/** The histogram is a table with bars in it. */
function histogram(summary: Summary): Markup {
  const rows: Bar[] = summary.buckets.map((bucket, index) => ({
    label: BUCKETS[index]?.label ?? '',
    style: `b${index}`,
    regions: count(bucket.regions),
    bytes: bucket.bytes,
  }));
  const empty = summary.regions - summary.buckets.reduce((sum, bucket) => sum + bucket.regions, 0);
  rows.push({
    label: 'zero pages',
    style: 'zero',
    regions: count(empty),
    bytes: summary.zeroBytes,
  });
  const most = Math.max(1, ...rows.map((row) => row.bytes));
  return table<Bar>({
    id: 'histogram',
    caption: 'How much of the RAM is in each class',
    columns: [
      {
        head: 'Ratio',
        align: 'left',
        cell: ({ label, style }) => html`<span class="named">${chip(style)}${label}</span>`,
      },
      { head: 'Regions', cell: (row) => row.regions },
      { head: 'RAM', cell: (row) => bytes(row.bytes) },
      { head: 'Share', cell: (row) => percent(row.bytes / summary.bytes) },
      {
        head: '',
        align: 'left',
        cell: (row) =>
          html`<svg class="bar inline" aria-hidden="true"><rect class="${row.style}" width="${barWidth(row.bytes, most)}%" height="100%"/></svg>`,
      },
    ],
    rows,
  });
}

interface BlockRow {
  readonly name: string;
  /** As the input says it, which is the block's own size. */
  readonly bytes: number;
  readonly summary: Summary;
  readonly least: number | undefined;
  readonly most: number | undefined;
}

function blockTable(report: BenchReport, blocks: readonly RegionBlock[]): Markup {
  const sizes = new Map(report.input.blocks.map(({ name, bytes }) => [name, bytes]));
  const unmapped = report.input.blocks.filter(({ name }) => !blocks.some((block) => block.name === name));
  const rows = [...blocks, ...unmapped.map(({ name }) => ({ name, regions: [] }))].map(
    ({ name, regions }) => {
      const summary = summarise(regions);
      const ratios = regions.flatMap((region) => (region.ratio === undefined ? [] : [region.ratio]));
      return {
        name,
        bytes: sizes.get(name) ?? summary.bytes,
        summary,
        least: ratios.length > 0 ? ratios.reduce((least, one) => Math.min(least, one)) : undefined,
        most: ratios.length > 0 ? ratios.reduce((most, one) => Math.max(most, one)) : undefined,
      };
    },
  );
  const classes: Column<BlockRow>[] = BUCKETS.map(({ label }, bucket) => ({
    group: 'Regions by ratio',
    head: label,
    cell: ({ summary }) => count(summary.buckets[bucket]?.regions ?? 0),
  }));
  return table<BlockRow>({
    id: 'blocks',
    caption: 'RAM blocks',
    columns: [
      { head: 'Block', align: 'left', cell: ({ name }) => blockName(name) },
      { head: 'Size', cell: (row) => bytes(row.bytes) },
      { head: 'Zero', cell: ({ summary }) => percent(summary.zeroBytes / summary.bytes) },
      { head: 'Ratio', cell: ({ summary }) => ratio(summary.ratio) },
      { head: 'Least', cell: ({ least }) => ratio(least) },
      { head: 'Most', cell: ({ most }) => ratio(most) },
      ...classes,
    ],
    rows,
  });
}

/** Every region: eight in a row, the ratio and below it the zero share. */
function regionTable({ name, regions }: RegionBlock, nth: number): Markup {
  const rows: BenchRegion[][] = [];
  for (let index = 0; index < regions.length; index += ACROSS)
    rows.push(regions.slice(index, index + ACROSS));
  const across = Array.from({ length: Math.min(ACROSS, regions.length) }, (_, column) => ({
    head: `+${column}`,
    cell: (row: readonly BenchRegion[]) => {
      const region = row[column];
      return region === undefined ? '' : regionCell(region);
    },
  }));
  const size = regions[0]?.bytes ?? Number.NaN;
  return table<readonly BenchRegion[]>({
    id: `regions-${nth}`,
    caption: html`${blockName(name)}, ${plural(regions.length, 'region')} of ${bytes(size)}: ratio, and below it the share of zero pages`,
    columns: [{ head: 'From', cell: (row) => address(row[0]?.offsetBytes ?? Number.NaN) }, ...across],
    rows,
  });
}

function regionCell(region: BenchRegion): Markup {
  const bucket = bucketOf(region);
  const text = region.ratio === undefined ? ABSENT : ratio(region.ratio);
  return html`<span class="cell">${chip(bucket === undefined ? 'zero' : `b${bucket}`)}${text}<small>${percent(zeroShareOf(region))}</small></span>`;
}
