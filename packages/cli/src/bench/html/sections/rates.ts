import type { BenchReport } from '../../report.ts';
import { NARROW, SMALL, WIDE } from '../charts/layout.ts';
import { marker, ring } from '../charts/markers.ts';
import { type Direction, hasPlace, type ScatterAxes, scatterAxes, scatterChart } from '../charts/scatter.ts';
import { configurationColumns } from '../configuration-columns.ts';
import {
  type Configuration,
  codecSlots,
  configurationsOf,
  type Group,
  groupsOf,
  groupTitle,
} from '../configurations.ts';
import { html, type Markup } from '../escape.ts';
import { count, figure, mibPerSecond, plural, ratio } from '../figures.ts';
import { codecLegend, legendItem } from '../legend.ts';
import { type Column, folded, table } from '../tables.ts';

/** More charts than this help nobody; their figures are in the table. */
const MOST_CHARTS = 6;

/** Throughput against ratio: charts and the table of all measurements. */
export function rates(report: BenchReport): Markup {
  const [first, ...others] = groupsOf(report);
  if (first === undefined) {
    return html`<section id="rates"><h2>Throughput against ratio</h2><p>Nothing was measured.</p></section>\n`;
  }
  const rest = others.flatMap((group) => group.members);
  return html`<section id="rates"><h2>Throughput against ratio</h2>
<p>Rates are MiB of guest pages before compression, all threads together, by the clock. Zero pages never reach a codec and do not count.</p>
${charts(report, first, others)}
${measurementTable(report, first.members, 'measurements', `Measurements with ${groupTitle(first)}`, false)}
${rest.length > 0 ? folded(`${plural(rest.length, 'measurement')} with other threads and packets`, measurementTable(report, rest, 'measurements-others', 'Measurements with other threads and packets', true)) : undefined}
</section>
`;
}

function charts(report: BenchReport, first: Group, others: readonly Group[]): Markup | undefined {
  const axes = scatterAxes(configurationsOf(report));
  if (axes === undefined) return undefined;
  const slots = codecSlots(report);
  const slot = slots.get(first.members[0]?.measurement.codec ?? '') ?? 0;
  const recommended = new Set(report.recommendations.map(({ measurement }) => measurement));
  const small: { group: Group; direction: Direction }[] = [
    { group: first, direction: 'decompress' },
    ...others
      .filter((group) => group.members.length > 1)
      .map((group) => ({ group, direction: 'compress' as const })),
  ];
  const shown = small
    .filter(({ group, direction }) => group.members.some((one) => hasPlace(one, direction)))
    .slice(0, MOST_CHARTS);
  const options = { axes, slots, recommended };
  return html`<ul class="legend">${codecLegend(slots)}
${legendItem(marker(slot, 0, 0, 7, 'hollow'), 'another is both faster and smaller')}
${recommended.size > 0 ? legendItem(html`${marker(slot, 0, 0, 5, 'solid')}${ring(0, 0, 5)}`, 'recommended') : undefined}
${legendItem(html`<path class="front" d="M-11 -6L0 0L11 7"/>`, 'Pareto front')}</ul>
${chart(first, 'compress', options)}
${shown.length > 0 ? html`<div class="small">${shown.map(({ group, direction }) => smallChart(group, direction, options))}</div>` : undefined}`;
}

interface ChartOptions {
  readonly axes: ScatterAxes;
  readonly slots: ReadonlyMap<string, number>;
  readonly recommended: ReadonlySet<number>;
}

function chart(group: Group, direction: Direction, options: ChartOptions): Markup {
  const title = `Compressing with ${groupTitle(group)}`;
  return html`<figure><figcaption>${title}</figcaption>
${scatterChart(group.members, { ...options, direction, title, layout: WIDE })}
${scatterChart(group.members, { ...options, direction, title, layout: NARROW })}</figure>`;
}

function smallChart(group: Group, direction: Direction, options: ChartOptions): Markup {
  const title = `${direction === 'compress' ? 'Compressing' : 'Decompressing'} with ${groupTitle(group)}`;
  return html`<figure><figcaption>${title}</figcaption>
${scatterChart(group.members, { ...options, direction, title, layout: SMALL })}</figure>
`;
}

function measurementTable(
  report: BenchReport,
  rows: readonly Configuration[],
  id: string,
  caption: string,
  withGroup: boolean,
): Markup {
  const recommended = new Set(report.recommendations.map(({ measurement }) => measurement));
  const columns: Column<Configuration>[] = [
    ...configurationColumns<Configuration>(report, (configuration) => configuration, withGroup),
    { head: 'Ratio', cell: ({ measurement }) => ratio(measurement.ratio) },
    ...(rows.some(({ measurement }) => measurement.pages !== undefined) ? [pagesColumn] : []),
    ...directionColumns('Compress', 'compress'),
    ...directionColumns('Decompress', 'decompress'),
    { head: 'Pareto', align: 'left', cell: ({ measurement }) => (measurement.pareto ? 'yes' : '') },
  ];
  return table({
    id,
    caption: `${caption}${rows.some(({ index }) => recommended.has(index)) ? '; the recommended ones are marked' : ''}`,
    columns,
    rows,
    isMarked: ({ index }) => recommended.has(index),
  });
}

/** How much of the sample there was time for. */
const pagesColumn: Column<Configuration> = {
  head: 'Pages',
  cell: ({ measurement }) => (measurement.pages === undefined ? '' : count(measurement.pages)),
};

function directionColumns(group: string, direction: Direction): Column<Configuration>[] {
  return [
    {
      group,
      head: 'MiB/s',
      cell: ({ measurement }) => mibPerSecond(measurement[`${direction}BytesPerSecond`]),
    },
    {
      group,
      head: 'MiB per CPU\u00a0s',
      cell: ({ measurement }) => mibPerSecond(measurement[`${direction}BytesPerCpuSecond`]),
    },
    {
      group,
      head: 'CPU\u00a0s per GiB',
      cell: ({ measurement }) => figure(measurement[`${direction}CpuSecondsPerGib`]),
    },
  ];
}
