import { type Configuration, namer } from '../configurations.ts';
import { html, type Markup } from '../escape.ts';
import { count, figure, tick } from '../figures.ts';
import {
  isDrawable,
  linearScale,
  linearTicks,
  logScale,
  logTicks,
  type Span,
  spanOf,
  widen,
  widenLog,
} from '../scale.ts';
import { type PlacedLabel, placeLabels } from './labels.ts';
import { frame, type Layout, plotOf, svg, xRange, yRange } from './layout.ts';
import { marker, ring } from './markers.ts';

const MIB = 2 ** 20;

/** Which rate a chart shows. */
export type Direction = 'compress' | 'decompress';

/** Axes that several charts share, so that they can be compared. Undefined when there is nothing to draw. */
export interface ScatterAxes {
  readonly ratio: Span;
  readonly ratioIsLog: boolean;
  /** MiB/s. */
  readonly rate: Span;
}

export interface ScatterOptions {
  readonly layout: Layout;
  readonly axes: ScatterAxes;
  readonly direction: Direction;
  readonly slots: ReadonlyMap<string, number>;
  readonly recommended: ReadonlySet<number>;
  readonly title: string;
}

function rateOf({ measurement }: Configuration, direction: Direction): number {
  const bytesPerSecond =
    direction === 'compress' ? measurement.compressBytesPerSecond : measurement.decompressBytesPerSecond;
  return bytesPerSecond / MIB;
}

/** Whether a configuration has a place on the chart. Not all have: nobody decompresses `none`, for one. */
export function hasPlace(configuration: Configuration, direction: Direction): boolean {
  return isDrawable(rateOf(configuration, direction)) && isDrawable(configuration.measurement.ratio);
}

export function scatterAxes(configurations: readonly Configuration[]): ScatterAxes | undefined {
  const ratio = spanOf(configurations.map(({ measurement }) => measurement.ratio));
  const rates = (['compress', 'decompress'] as const).flatMap((direction) =>
    configurations.map((configuration) => rateOf(configuration, direction)),
  );
  const rate = spanOf(rates);
  if (ratio === undefined || rate === undefined) return undefined;
  const ratioIsLog = ratio[1] / ratio[0] > 8;
  return {
    ratio: ratioIsLog ? widenLog(ratio, 0.06, 1.1) : widen(ratio, 0.07, 0.04),
    ratioIsLog,
    rate: widenLog(rate, 0.06, 1.25),
  };
}

/** Throughput (log) against ratio, with the Pareto front as a line through the configurations on it. */
export function scatterChart(configurations: readonly Configuration[], options: ScatterOptions): Markup {
  const { layout, axes, direction, slots, recommended } = options;
  const drawn = configurations.filter((configuration) => hasPlace(configuration, direction));
  const rateTicks = logTicks(axes.rate, layout.yTicks);
  const plot = plotOf(layout, rateTicks.map(tick), 0);
  const ratioTicks = axes.ratioIsLog
    ? logTicks(axes.ratio, layout.xTicks)
    : linearTicks(axes.ratio, layout.xTicks - 1);
  const ratioScale = axes.ratioIsLog ? logScale : linearScale;
  const x = ratioScale(axes.ratio, xRange(plot), ratioTicks);
  const y = logScale(axes.rate, yRange(plot), rateTicks);
  const points = drawn.map((configuration) => ({
    configuration,
    x: x.at(configuration.measurement.ratio),
    y: y.at(rateOf(configuration, direction)),
  }));

  // The front is one of compression; decompression rates in its order would be a zigzag.
  const front = points
    .filter(({ configuration }) => configuration.measurement.pareto)
    .sort((a, b) => a.x - b.x || a.y - b.y);
  const line = direction === 'compress' ? front : [];
  const name = namer(front.map(({ configuration }) => configuration));
  const beaten = points.filter(({ configuration }) => !configuration.measurement.pareto);
  const beatenName = namer(beaten.map(({ configuration }) => configuration));
  const requests = [
    ...front.map((point) => ({ ...point, text: name(point.configuration), optional: false })),
    ...beaten.map((point) => ({ ...point, text: beatenName(point.configuration), optional: true })),
  ].map(({ configuration, ...request }) => ({
    ...request,
    radius: layout.radius + (recommended.has(configuration.index) ? 5 : 0),
  }));
  const labels = placeLabels(
    requests,
    points,
    line,
    { ...plot, right: layout.width },
    layout.fontSize,
    layout.radius,
  );

  const everyName = namer(drawn);
  const marks = points.map(({ configuration, x, y }) => {
    const { measurement, index } = configuration;
    const kind = measurement.pareto ? 'solid' : 'hollow';
    const hint = `${everyName(configuration)}: ratio ${figure(measurement.ratio)}, ${figure(rateOf(configuration, direction))} MiB/s`;
    return html`<g><title>${hint}</title>${marker(slots.get(measurement.codec) ?? 0, x, y, layout.radius, kind)}${recommended.has(index) ? ring(x, y, layout.radius) : undefined}</g>`;
  });
  const label = `${options.title}. Scatter chart of ${count(drawn.length)} configurations: ratio from left to right, rate from bottom to top. The table of measurements holds its figures.`;
  return svg(layout, label, [
    frame(
      layout,
      plot,
      { title: 'ratio (uncompressed : compressed)', scale: x, format: tick },
      { title: `${direction}: MiB of guest pages per second`, scale: y, format: tick },
    ),
    html`${line.length > 1 ? html`<path class="front" d="${path(line)}"/>` : undefined}`,
    html`${marks}`,
    html`${labels.map(labelMarkup)}`,
  ]);
}

function labelMarkup({ request, x, y, anchor, leader }: PlacedLabel): Markup {
  const line = leader === undefined ? undefined : html`<path class="leader" d="${path(leader)}"/>`;
  const style = request.optional ? 'label faint' : 'label';
  return html`${line}<text class="${style}" x="${x}" y="${y}" text-anchor="${anchor}">${request.text}</text>`;
}

function path(points: readonly { readonly x: number; readonly y: number }[]): string {
  return points
    .map(({ x, y }, index) => `${index === 0 ? 'M' : 'L'}${x.toFixed(2)} ${y.toFixed(2)}`)
    .join('');
}
