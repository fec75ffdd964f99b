import type { BenchPrediction } from '../../report.ts';
import { type Configuration, namer, shortNamer } from '../configurations.ts';
import { html, type Markup } from '../escape.ts';
import { link, tick, time, truncate } from '../figures.ts';
import { isDrawable, logScale, logTicks, spanOf, timeTicks, widenLog } from '../scale.ts';
import { spreadLabels } from './labels.ts';
import { frame, type Layout, plotOf, svg, textWidth, xRange, yRange } from './layout.ts';
import { cross, marker, ring } from './markers.ts';

/** One configuration at every link speed, ascending. */
export interface LinkSeries {
  readonly configuration: Configuration;
  readonly predictions: readonly BenchPrediction[];
}

interface LinkTimesOptions {
  readonly layout: Layout;
  readonly slots: ReadonlyMap<string, number>;
  /** Whether a configuration is the recommended one at a link speed. */
  readonly isRecommended: (configuration: number, linkBitsPerSecond: number) => boolean;
  readonly title: string;
}

interface ChartPoint {
  readonly prediction: BenchPrediction;
  readonly x: number;
  readonly y: number;
}

interface ChartLine {
  readonly configuration: Configuration;
  readonly slot: number;
  readonly dash: string;
  readonly points: readonly ChartPoint[];
}

/** Dashes that tell lines of the same codec apart, besides their labels. */
const DASHES = ['', '7 4', '2 3', '10 3 2 3', '5 2', '1 4', '12 4', '3 6'];

/** Height of the band above the times, per line that has points in it, in text heights. */
const BAND_ROW = 1.2;

/**
 * Predicted total time (log) against link speed (log). A migration that does not converge has no total time worth an axis
 * of hours: its points are crossed out and stand in a band above the others. Undefined when no migration
 * converges.
 */
export function linkTimesChart(all: readonly LinkSeries[], options: LinkTimesOptions): Markup | undefined {
  const { layout, slots } = options;
  const { fontSize } = layout;
  const series = all
    .map(({ configuration, predictions }) => ({ configuration, predictions: predictions.filter(hasPlace) }))
    .filter(({ predictions }) => predictions.length > 0);
  const predictions = series.flatMap((one) => one.predictions);
  const links = spanOf(predictions.map(({ linkBitsPerSecond }) => linkBitsPerSecond));
  const converging = predictions.filter(({ converges }) => converges);
  const times = spanOf(converging.map(({ totalTimeMs }) => totalTimeMs));
  if (links === undefined || times === undefined) return undefined;
  const banded = series.filter((one) => one.predictions.some(({ converges }) => !converges));

  const timeSpan = widenLog(times, 0.04, 1.3);
  const linkSpan = widenLog(links, 0.03, 1.05);
  const yTicks = timeTicks(timeSpan, layout.yTicks);
  const speeds = Array.from(new Set(predictions.map((one) => one.linkBitsPerSecond))).sort((a, b) => a - b);
  const xTicks = speeds.length <= layout.xTicks ? speeds : logTicks(linkSpan, layout.xTicks);
  const longest = Math.floor((layout.width * 0.32) / textWidth('m', fontSize));
  const fullName = namer(series.map(({ configuration }) => configuration));
  const shortName = shortNamer(series.map(({ configuration }) => configuration));
  const name = (configuration: Configuration) => truncate(shortName(configuration), longest);
  const widest = Math.max(0, ...series.map((one) => textWidth(name(one.configuration), fontSize)));
  const whole = plotOf(layout, yTicks.map(axisTime), widest + 26);
  const bandHeight = banded.length > 0 ? (banded.length * BAND_ROW + 1.6) * fontSize : 0;
  const plot = { ...whole, top: whole.top + bandHeight };
  const x = logScale(linkSpan, xRange(plot), xTicks);
  const y = logScale(timeSpan, yRange(plot), yTicks);

  const seen = new Map<string, number>();
  const lines = series.map((one): ChartLine => {
    const { codec } = one.configuration.measurement;
    const nth = seen.get(codec) ?? 0;
    seen.set(codec, nth + 1);
    const row = whole.top + (1.9 + banded.indexOf(one) * BAND_ROW) * fontSize;
    const points = one.predictions.map((prediction) => ({
      prediction,
      x: x.at(prediction.linkBitsPerSecond),
      y: prediction.converges ? y.at(prediction.totalTimeMs) : row,
    }));
    const dash = DASHES[nth % DASHES.length] ?? '';
    return { configuration: one.configuration, slot: slots.get(codec) ?? 0, dash, points };
  });

  const ends = lines.map(({ points }) => points.at(-1)!);
  const labelYs = spreadLabels(
    ends.map((end) => end.y),
    fontSize * 1.15,
    whole.top,
    plot.bottom,
  );
  const names = lines.map(({ configuration, slot }, index) => {
    const end = ends[index]!;
    const labelY = labelYs[index] ?? end.y;
    const textX = plot.right + 18;
    return html`<path class="leader c${slot}" d="M${end.x + layout.radius + 5} ${end.y}L${textX - 4} ${labelY}"/><text class="label" x="${textX}" y="${labelY + fontSize * 0.35}">${name(configuration)}</text>`;
  });
  const band = html`<rect class="band" x="${plot.left}" y="${whole.top}" width="${plot.right - plot.left}" height="${bandHeight}"/><text class="label" x="${plot.left + 8}" y="${whole.top + fontSize * 1.05}">does not converge</text>`;
  const label = `${options.title}. Line chart of ${series.length} configurations: link speed from left to right, predicted total time from bottom to top. The table of total times holds its figures.`;
  return svg(layout, label, [
    frame(
      layout,
      plot,
      { title: 'link speed', scale: x, format: link },
      { title: 'predicted total time', scale: y, format: axisTime },
    ),
    html`${banded.length > 0 ? band : undefined}`,
    html`${lines.map((line) => lineMarkup(line, fullName(line.configuration), options))}`,
    html`${names}`,
  ]);
}

function lineMarkup(
  { configuration, slot, dash, points }: ChartLine,
  name: string,
  options: LinkTimesOptions,
): Markup {
  const r = options.layout.radius * 0.8;
  const segments = points.slice(1).map((to, index) => {
    const from = points[index]!;
    const style = from.prediction.converges && to.prediction.converges ? 'line' : 'line weak';
    return html`<path class="${style} c${slot}" stroke-dasharray="${dash}" d="M${from.x} ${from.y}L${to.x} ${to.y}"/>`;
  });
  const marks = points.map(({ prediction, x, y }) => {
    const { converges, linkBitsPerSecond, totalTimeMs, downtimeMs } = prediction;
    const outcome = converges ? time(totalTimeMs) : `does not converge, ${time(downtimeMs)} of downtime`;
    const mark = marker(slot, x, y, r, converges ? 'solid' : 'hollow');
    const recommended = options.isRecommended(configuration.index, linkBitsPerSecond);
    return html`<g><title>${name} at ${link(linkBitsPerSecond)}: ${outcome}</title>${mark}${converges ? undefined : cross(x, y, r)}${recommended ? ring(x, y, r) : undefined}</g>`;
  });
  return html`${segments}${marks}`;
}

function hasPlace({ converges, totalTimeMs, linkBitsPerSecond }: BenchPrediction): boolean {
  return (isDrawable(totalTimeMs) || !converges) && isDrawable(linkBitsPerSecond);
}

/** `1 min` where the text form has `1 min 0 s`. */
function axisTime(milliseconds: number): string {
  if (milliseconds < 1) return time(milliseconds);
  if (milliseconds < 1000) return `${tick(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${tick(seconds)} s`;
  if (seconds < 3600) return `${tick(seconds / 60)} min`;
  return `${tick(seconds / 3600)} h`;
}
