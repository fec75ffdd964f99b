import type { BenchRegion } from '../../report.ts';
import { BUCKETS, bucketOf, type RegionBlock, summarise, zeroShareOf } from '../buckets.ts';
import { html, type Markup } from '../escape.ts';
import { address, bytes, count, percent, plural, ratio, shorten } from '../figures.ts';
import { type Layout, NARROW, svg, textWidth } from './layout.ts';

interface Cell {
  readonly region: BenchRegion;
  readonly x: number;
  readonly y: number;
}

interface Tile {
  readonly block: RegionBlock;
  readonly heading: string;
  readonly columns: number;
  readonly rows: number;
  readonly width: number;
  readonly height: number;
}

/** Cells in a row of the map: more regions, smaller cells. */
function columnsFor(regions: number, layout: Layout): number {
  const wide = regions <= 512 ? 32 : regions <= 2048 ? 64 : 128;
  return layout.name === 'wide' ? wide : wide / 2;
}

/**
 * The regions in address order, a cell each: its colour is the class of its ratio, and it is filled as far as its pages
 * are not zero. Blocks of less than a row stand side by side.
 */
export function regionMap(blocks: readonly RegionBlock[], layout: Layout): Markup {
  const regions = blocks.reduce((total, block) => total + block.regions.length, 0);
  const most = Math.max(0, ...blocks.map((block) => block.regions.length));
  const columns = columnsFor(most, layout);
  const gutter = most > columns ? textWidth('1023 MiB', layout.fontSize) + 8 : 0;
  const pitch = (layout.width - gutter) / columns;
  const headingHeight = layout.fontSize * 1.7;
  const gap = layout.fontSize * 0.9;

  let left = 0;
  let top = 0;
  let lineHeight = 0;
  const parts: Markup[] = [];
  const cells: Cell[] = [];
  for (const block of blocks) {
    const tile = tileOf(block, columns, pitch, gutter, headingHeight, layout);
    if (left > 0 && left + tile.width > layout.width) {
      left = 0;
      top += lineHeight + gap;
      lineHeight = 0;
    }
    const gridLeft = left + (tile.rows > 1 ? gutter : 0);
    parts.push(html`<text class="label" x="${left}" y="${top + layout.fontSize}">${tile.heading}</text>`);
    if (tile.rows > 1) parts.push(rowLabels(tile, left + gutter - 8, top + headingHeight, pitch, layout));
    block.regions.forEach((region, index) => {
      const column = index % tile.columns;
      const row = Math.floor(index / tile.columns);
      cells.push({ region, x: gridLeft + column * pitch, y: top + headingHeight + row * pitch });
    });
    left += tile.width + gap;
    lineHeight = Math.max(lineHeight, tile.height);
  }
  const size = pitch - (pitch > 8 ? 1 : 0.5);
  const label = `Map of ${count(regions)} regions in address order, coloured by compressibility. The tables below hold its figures.`;
  return svg({ name: layout.name, width: layout.width, height: Math.ceil(top + lineHeight) + 1 }, label, [
    html`${parts}`,
    layout === NARROW ? backs(cells, size) : hints(cells, size),
    html`${fills(cells, size)}`,
  ]);
}

function tileOf(
  block: RegionBlock,
  columns: number,
  pitch: number,
  gutter: number,
  headingHeight: number,
  layout: Layout,
): Tile {
  const { ratio: blockRatio, bytes: size, zeroBytes } = summarise(block.regions);
  const figures =
    blockRatio === undefined ? 'all zero' : `ratio ${ratio(blockRatio)}, ${percent(zeroBytes / size)} zero`;
  const room = Math.floor(layout.width / textWidth('m', layout.fontSize));
  const short = `: ${bytes(size)}`;
  const long = `${block.name}${short}, ${figures}`;
  const heading = long.length <= room ? long : `${shorten(block.name, room - short.length)}${short}`;
  const rows = Math.ceil(block.regions.length / columns);
  const grid = rows > 1 ? gutter + columns * pitch : block.regions.length * pitch;
  return {
    block,
    heading,
    columns,
    rows,
    width: Math.max(grid, textWidth(heading, layout.fontSize)),
    height: headingHeight + rows * pitch,
  };
}

/** The offset at which a row begins, at as many rows as have room. */
function rowLabels(tile: Tile, x: number, top: number, pitch: number, layout: Layout): Markup {
  const every = Math.max(1, 2 ** Math.ceil(Math.log2((layout.fontSize * 1.3) / pitch)));
  const labels: Markup[] = [];
  for (let row = 0; row < tile.rows; row += every) {
    const region = tile.block.regions[row * tile.columns];
    if (region === undefined) continue;
    const y = top + row * pitch + Math.min(pitch * every, layout.fontSize * 1.3) / 2 + layout.fontSize * 0.35;
    labels.push(html`<text x="${x}" y="${y}" text-anchor="end">${address(region.offsetBytes)}</text>`);
  }
  return html`${labels}`;
}

/** The ground of each cell, which stands for its zero pages, with a hint to be shown under the pointer. */
function hints(cells: readonly Cell[], size: number): Markup {
  const side = Number(size.toFixed(2));
  return html`${cells.map(
    ({ region, x, y }) =>
      html`<path class="zero" d="M${x} ${y}h${side}v${side}h${-side}z"><title>${hint(region)}</title></path>`,
  )}`;
}

/** The same as one shape: a phone has no pointer to show hints under. */
function backs(cells: readonly Cell[], size: number): Markup {
  const shape = cells.map(({ x, y }) => rectangle(x, y, size, size)).join('');
  return shape === '' ? html`` : html`<path class="zero" d="${shape}"/>`;
}

/** One shape for all cells of a class. */
function fills(cells: readonly Cell[], size: number): Markup[] {
  const shapes = BUCKETS.map(() => '');
  for (const { region, x, y } of cells) {
    const bucket = bucketOf(region);
    if (bucket === undefined) continue;
    const height = size * (1 - zeroShareOf(region));
    if (height < 0.01) continue;
    shapes[bucket] += rectangle(x, y + size - height, size, height);
  }
  return shapes
    .map((shape, bucket) => ({ shape, bucket }))
    .filter(({ shape }) => shape !== '')
    .map(({ shape, bucket }) => html`<path class="b${bucket} through" d="${shape}"/>`);
}

function rectangle(x: number, y: number, width: number, height: number): string {
  const [left, top, w, h] = [x, y, width, height].map((value) => Number(value.toFixed(2)));
  return `M${left} ${top}h${w}v${h}h${-w!}z`;
}

function hint(region: BenchRegion): string {
  const place = `${region.block} at ${address(region.offsetBytes)} (0x${hexadecimal(region.offsetBytes)}), ${bytes(region.bytes)}`;
  if (region.ratio === undefined) return `${place}: zero pages only`;
  return `${place}: ratio ${ratio(region.ratio)}, ${percent(zeroShareOf(region))} zero`;
}

function hexadecimal(value: number): string {
  return Number.isFinite(value) ? value.toString(16) : '?';
}

/** What is told about one map: used by its caption. */
export function mapScale(blocks: readonly RegionBlock[]): string {
  const all = blocks.flatMap((block) => block.regions);
  const sizes = new Set(all.map((region) => region.bytes));
  const largest = all.reduce((size, region) => Math.max(size, region.bytes), 0);
  return `${plural(all.length, 'region')} of ${sizes.size > 1 ? 'up to ' : ''}${bytes(largest)}`;
}
