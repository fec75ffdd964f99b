/** From values to coordinates of a chart, and the values to label on an axis. */
export interface Scale {
  /** Coordinate of a value; values outside the domain are put on its edge. */
  at(value: number): number;
  readonly ticks: readonly number[];
}

export type Span = readonly [least: number, most: number];

/** Whether a value has a place on an axis: a number above zero, of a size that figures of a machine can have. */
export function isDrawable(value: number): boolean {
  return value >= 1e-9 && value <= 1e18;
}

/** Least and most of the values that can be drawn; undefined when there are none. */
export function spanOf(values: Iterable<number>): Span | undefined {
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (!isDrawable(value)) continue;
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return least <= most ? [least, most] : undefined;
}

/** A span with room around it, `share` of it on each side, and `least` at the least (one value has no span). */
export function widen([low, high]: Span, share: number, least: number): Span {
  const room = Math.max((high - low) * share, least);
  return [low - room, high + room];
}

/** The same for a log axis: at least a factor of `least` on each side. */
export function widenLog([low, high]: Span, share: number, least: number): Span {
  const factor = Math.max((high / low) ** share, least);
  return [low / factor, high * factor];
}

export function linearScale([low, high]: Span, [from, to]: Span, ticks: readonly number[]): Scale {
  const extent = high - low;
  return {
    at: (value) => from + clamp(extent > 0 ? (value - low) / extent : 0.5) * (to - from),
    ticks: ticks.filter((tick) => tick >= low && tick <= high),
  };
}

export function logScale([low, high]: Span, [from, to]: Span, ticks: readonly number[]): Scale {
  const extent = Math.log(high / low);
  return {
    at: (value) => {
      if (value <= low) return from;
      return from + clamp(extent > 0 ? Math.log(value / low) / extent : 0.5) * (to - from);
    },
    ticks: ticks.filter((tick) => tick >= low && tick <= high),
  };
}

/** Whole steps of 1, 2 or 5 times a power of ten, about `wanted` of them. */
export function linearTicks([low, high]: Span, wanted: number): number[] {
  const rough = (high - low) / Math.max(1, wanted);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((multiple) => power * multiple >= rough * 0.999) ?? 10);
  const ticks: number[] = [];
  for (let index = Math.ceil(low / step); index * step <= high; index++) {
    ticks.push(Number((index * step).toPrecision(12)));
  }
  return ticks;
}

/** 1-2-5, 1-3 or decades only: the closest that gives at most `most`. */
export function logTicks([low, high]: Span, most: number): number[] {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const inside = (mantissas: readonly number[], every: number) => {
    const ticks: number[] = [];
    for (let decade = first; decade <= last; decade += every) {
      for (const mantissa of mantissas) {
        const tick = Number((mantissa * 10 ** decade).toPrecision(3));
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    }
    return ticks;
  };
  const choices = [inside([1, 2, 5], 1), inside([1, 3], 1), inside([1], 1), inside([1], 2), inside([1], 3)];
  return choices.find((ticks) => ticks.length <= most) ?? choices.at(-1) ?? [];
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** Round times, in ms, that people count in. */
const ROUND_TIMES_MS: readonly (readonly number[])[] = [
  [1, 2, 5, 10, 20, 50, 100, 200, 500].concat(
    [1, 2, 5, 10, 20, 30].map((seconds) => seconds * SECOND),
    [1, 2, 5, 10, 20, 30].map((minutes) => minutes * MINUTE),
    [1, 2, 5, 10, 24, 48, 120, 240].map((hours) => hours * HOUR),
  ),
  [1, 10, 100, SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR, 10 * HOUR, 100 * HOUR, 1000 * HOUR],
];

/** Ticks for a log axis of times: at most `most`, decades when the times are out of all proportion. */
export function timeTicks(span: Span, most: number): number[] {
  for (const times of ROUND_TIMES_MS) {
    const ticks = times.filter((tick) => tick >= span[0] && tick <= span[1]);
    if (ticks.length >= 2 && ticks.length <= most) return ticks;
  }
  return logTicks(span, most);
}

function clamp(share: number): number {
  return Math.min(1, Math.max(0, Number.isNaN(share) ? 0 : share));
}
