import type { Forecast } from './forecast.ts';

/** One way of migrating, with what it would be like. */
export interface Candidate {
  readonly forecast: Forecast;
  /** CPU seconds of both sides together for the guest's pages once. */
  readonly cpuSeconds: number;
  readonly threads: number;
}

export interface Recommendation {
  /** Index of the candidate. */
  readonly index: number;
  /**
   * - `fastest`: no other is nearly as fast
   * - `cheapest`: others are as fast, for more CPU time or more threads
   * - `only`: no other converges
   * - `least-downtime`: none converges; this one would stop the guest for the shortest time
   */
  readonly why: 'fastest' | 'cheapest' | 'only' | 'least-downtime';
}

/** Total times that differ by less than this are the same: predictions are no better. */
const SAME_SHARE = 0.05;
const SAME_MS = 20;
/** So do CPU times. */
const SAME_CPU_SHARE = 0.05;

/** The candidate to take; undefined when there is none. */
export function recommend(candidates: readonly Candidate[]): Recommendation | undefined {
  const all = candidates.map((candidate, index) => ({ ...candidate, index }));
  const converging = all.filter(({ forecast }) => forecast.converges);
  if (converging.length === 0) {
    const [best] = all.sort((a, b) => a.forecast.downtimeMs - b.forecast.downtimeMs);
    return best && { index: best.index, why: 'least-downtime' };
  }
  const fastestMs = Math.min(...converging.map(({ forecast }) => forecast.totalTimeMs));
  const limitMs = fastestMs + Math.max(SAME_MS, fastestMs * SAME_SHARE);
  const equals = converging.filter(({ forecast }) => forecast.totalTimeMs <= limitMs);
  const leastCpuSeconds = Math.min(...equals.map(({ cpuSeconds }) => cpuSeconds));
  const cheapest = equals.filter(({ cpuSeconds }) => cpuSeconds <= leastCpuSeconds * (1 + SAME_CPU_SHARE));
  const { index } = cheapest.sort((a, b) => a.threads - b.threads || a.cpuSeconds - b.cpuSeconds)[0]!;
  if (converging.length === 1 && all.length > 1) return { index, why: 'only' };
  return { index, why: equals.length > 1 ? 'cheapest' : 'fastest' };
}
