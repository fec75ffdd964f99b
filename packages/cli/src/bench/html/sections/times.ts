import type { BenchPrediction, BenchReport } from '../../report.ts';
import { NARROW, WIDE } from '../charts/layout.ts';
import { type LinkSeries, linkTimesChart } from '../charts/link-times.ts';
import { cross, marker, ring } from '../charts/markers.ts';
import { configurationColumns } from '../configuration-columns.ts';
import {
  type Configuration,
  codecSlots,
  configurationAt,
  groupsOf,
  groupTitle,
  limitOf,
  namer,
  shortNameKey,
} from '../configurations.ts';
import { html, type Markup } from '../escape.ts';
import { bytes, count, link, plural, rate, time } from '../figures.ts';
import { codecLegend, legendItem, named } from '../legend.ts';
import { type Column, folded, table } from '../tables.ts';
import { predictionOf } from './headline.ts';

/** Lines that can still be told apart on one chart. */
const MOST_LINES = 9;

/** Predicted total time against link speed: chart, total times, all predictions, the recommendations. */
export function times(report: BenchReport): Markup {
  const body =
    report.predictions.length === 0
      ? html`<p>Nothing was predicted.</p>`
      : html`<p>What the measured rates mean for one migration: passes over the RAM until what is left fits into the downtime limit, each as fast as the slowest of link, compression and decompression. Where the guest writes faster than that, it does not converge: total time and downtime are then those of a guest that is stopped as soon as another pass would not make the rest smaller.</p>
${recommendationTable(report)}
${dirtyRatesOf(report).map((dirtyRate, index) => atDirtyRate(report, dirtyRate, index))}`;
  return html`<section id="times"><h2>Time against link speed</h2>
${body}
</section>
`;
}

function dirtyRatesOf(report: BenchReport): number[] {
  const rates = new Set(report.predictions.map(({ dirtyBytesPerSecond }) => dirtyBytesPerSecond));
  return Array.from(rates).sort((a, b) => a - b);
}

function atDirtyRate(report: BenchReport, dirtyRate: number, nth: number): Markup {
  const predictions = report.predictions.filter((one) => Object.is(one.dirtyBytesPerSecond, dirtyRate));
  const series = seriesOf(report, predictions);
  const writes = dirtyRate === 0 ? 'an idle guest' : `a guest that writes ${rate(dirtyRate)}`;
  const speeds = speedsOf(predictions);
  return html`${charts(report, series, writes)}
${totalTimes(report, series, speeds, `total-times-${nth}`, writes)}
${speeds.map((speed, index) => allAt(report, predictions, speed, `predictions-${nth}-${index}`, writes))}`;
}

function speedsOf(predictions: readonly BenchPrediction[]): number[] {
  return Array.from(new Set(predictions.map(({ linkBitsPerSecond }) => linkBitsPerSecond))).sort(
    (a, b) => a - b,
  );
}

/**
 * The lines of the chart: what is recommended, no compression, and the Pareto front, of the group that most
 * recommendations come from; the quickest when there are too many.
 */
function seriesOf(report: BenchReport, predictions: readonly BenchPrediction[]): LinkSeries[] {
  const byConfiguration = new Map<number, BenchPrediction[]>();
  for (const prediction of predictions) {
    const known = byConfiguration.get(prediction.measurement);
    if (known === undefined) byConfiguration.set(prediction.measurement, [prediction]);
    else known.push(prediction);
  }
  const recommended = new Set(report.recommendations.map(({ measurement }) => measurement));
  const group = groupsOf(report).find(({ members }) =>
    members.some(({ index }) => byConfiguration.has(index)),
  );
  const inGroup = new Set(group?.members.map(({ index }) => index));
  const rank = ({ configuration: { index, measurement }, predictions }: LinkSeries) => {
    if (recommended.has(index)) return 0;
    if (measurement.codec === 'none') return 1;
    return (
      2 +
      predictions.reduce(
        (sum, { totalTimeMs }) =>
          sum + Math.log(Number.isFinite(totalTimeMs) ? Math.max(totalTimeMs, 1) : 1e12),
        0,
      )
    );
  };
  return Array.from(byConfiguration, ([index, own]) => ({
    configuration: configurationAt(report, index),
    predictions: own.sort((a, b) => a.linkBitsPerSecond - b.linkBitsPerSecond),
  }))
    .filter(({ configuration: { index, measurement } }) => {
      const wanted = measurement.pareto || measurement.codec === 'none';
      return recommended.has(index) || (inGroup.has(index) && wanted);
    })
    .sort((a, b) => rank(a) - rank(b))
    .slice(0, MOST_LINES)
    .sort((a, b) => a.configuration.index - b.configuration.index);
}

function isRecommended(report: BenchReport, configuration: number, speed: number): boolean {
  return report.recommendations.some(
    ({ measurement, linkBitsPerSecond }) => measurement === configuration && linkBitsPerSecond === speed,
  );
}

function charts(report: BenchReport, series: readonly LinkSeries[], writes: string): Markup {
  const slots = codecSlots(report);
  const title = `Predicted total time of ${writes}${oneGroup(series)}`;
  const options = {
    slots,
    title,
    isRecommended: (configuration: number, speed: number) => isRecommended(report, configuration, speed),
  };
  const wide = linkTimesChart(series, { ...options, layout: WIDE });
  const narrow = linkTimesChart(series, { ...options, layout: NARROW });
  if (wide === undefined || narrow === undefined) {
    return html`<p class="warning">No migration of ${writes} converges in any of the settings here: they send slower than it writes.</p>`;
  }
  const used = new Map(
    Array.from(slots).filter(([codec]) =>
      series.some((one) => one.configuration.measurement.codec === codec),
    ),
  );
  const [slot = 0] = used.values();
  const key = shortNameKey(series.map(({ configuration }) => configuration));
  const diverging = series.some(({ predictions }) => predictions.some(({ converges }) => !converges));
  return html`<figure><figcaption>${title}</figcaption>
<ul class="legend">${codecLegend(used)}
${report.recommendations.length > 0 ? legendItem(html`${marker(slot, 0, 0, 5, 'solid')}${ring(0, 0, 5)}`, 'recommended') : undefined}
${diverging ? legendItem(html`${marker(slot, 0, 0, 6, 'hollow')}${cross(0, 0, 6)}`, 'does not converge') : undefined}</ul>
${key === undefined ? undefined : html`<p class="key">${key}</p>`}
${wide}
${narrow}</figure>`;
}

/** What all lines have in common and their names therefore leave out. */
function oneGroup(series: readonly LinkSeries[]): string {
  const [first] = series;
  if (first === undefined) return '';
  const { threads, packetPages } = first.configuration.measurement;
  const same = series.every(
    ({ configuration: { measurement } }) =>
      measurement.threads === threads && measurement.packetPages === packetPages,
  );
  return same ? `, ${groupTitle({ threads, packetPages })}` : '';
}

function totalTimes(
  report: BenchReport,
  rows: readonly LinkSeries[],
  speeds: readonly number[],
  id: string,
  writes: string,
): Markup | undefined {
  if (rows.length === 0) return undefined;
  const slots = codecSlots(report);
  const name = namer(rows.map(({ configuration }) => configuration));
  const best = new Map(
    speeds.map((speed) => {
      const all = rows.flatMap(({ predictions }) => predictions);
      const here = all.filter((one) => one.linkBitsPerSecond === speed && one.converges);
      return [speed, here.reduce((least, one) => Math.min(least, one.totalTimeMs), Number.POSITIVE_INFINITY)];
    }),
  );
  const columns: Column<LinkSeries>[] = [
    {
      head: 'Configuration',
      align: 'left',
      cell: ({ configuration }) => named(configuration, name(configuration), slots),
    },
    ...speeds.map((speed) => ({
      head: link(speed),
      cell: ({ predictions }: LinkSeries) => {
        const prediction = predictions.find((one) => one.linkBitsPerSecond === speed);
        if (prediction === undefined) return '';
        if (!prediction.converges) return html`<span class="no">✕</span>`;
        const text = time(prediction.totalTimeMs);
        return prediction.totalTimeMs === best.get(speed) ? html`<b>${text}</b>` : text;
      },
    })),
  ];
  const caption = `Total time of ${writes}${oneGroup(rows)}; the least is bold, ✕ does not converge`;
  return table({ id, caption, columns, rows });
}

function allAt(
  report: BenchReport,
  predictions: readonly BenchPrediction[],
  speed: number,
  id: string,
  writes: string,
): Markup {
  const rows = predictions
    .filter((one) => one.linkBitsPerSecond === speed)
    .map((prediction) => ({ prediction, configuration: configurationAt(report, prediction.measurement) }))
    .sort((a, b) => byUse(a.prediction, b.prediction));
  const columns: Column<Outcome>[] = [
    ...configurationColumns<Outcome>(report, ({ configuration }) => configuration, true),
    ...outcomeColumns(),
  ];
  const title = `All ${plural(rows.length, 'prediction')} at ${link(speed)}`;
  return folded(
    title,
    table({
      id,
      caption: `${title}, ${writes}, quickest first, behind them those that do not converge`,
      columns,
      rows,
      isMarked: ({ configuration }) => isRecommended(report, configuration.index, speed),
    }),
  );
}

/** Quickest first; behind all of them those that do not converge, the shortest downtime first. */
function byUse(a: BenchPrediction, b: BenchPrediction): number {
  if (a.converges !== b.converges) return a.converges ? -1 : 1;
  const figure = ({ converges, totalTimeMs, downtimeMs }: BenchPrediction) => {
    const time = converges ? totalTimeMs : downtimeMs;
    return Number.isFinite(time) ? time : Number.MAX_VALUE;
  };
  return figure(a) - figure(b);
}

interface Outcome {
  readonly configuration: Configuration;
  readonly prediction: BenchPrediction | undefined;
}

function outcomeColumns(): Column<Outcome>[] {
  const cell =
    (text: (prediction: BenchPrediction, configuration: Configuration) => string) =>
    ({ prediction, configuration }: Outcome) =>
      prediction === undefined ? '' : text(prediction, configuration);
  return [
    { head: 'Total time', cell: cell(({ totalTimeMs }) => time(totalTimeMs)) },
    { head: 'Downtime', cell: cell(({ downtimeMs }) => time(downtimeMs)) },
    { head: 'Passes', cell: cell(({ passes }) => count(passes)) },
    { head: 'On the wire', cell: cell(({ transferredBytes }) => bytes(transferredBytes)) },
    { head: 'Converges', align: 'left', cell: cell(({ converges }) => (converges ? 'yes' : 'no')) },
    { head: 'Limit', align: 'left', cell: cell(limitOf) },
  ];
}

function recommendationTable(report: BenchReport): Markup | undefined {
  if (report.recommendations.length === 0) return undefined;
  const rows = report.recommendations.map((recommendation) => ({
    recommendation,
    configuration: configurationAt(report, recommendation.measurement),
    prediction: predictionOf(report, recommendation.linkBitsPerSecond, recommendation.measurement),
  }));
  const columns: Column<(typeof rows)[number]>[] = [
    { head: 'Link', align: 'left', cell: ({ recommendation }) => link(recommendation.linkBitsPerSecond) },
    ...configurationColumns<(typeof rows)[number]>(report, ({ configuration }) => configuration, true),
    ...outcomeColumns(),
  ];
  return table({ id: 'recommendations', caption: 'Recommendations', columns, rows });
}
