import type { Run } from './measure.ts';
import { type Row, rowTitle } from './modes.ts';
import { type Spread, spreadOf } from './statistics.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** What is told of a run; undefined where there is no such thing. */
const MEASURES = {
  'MiB/s of non-zero pages': (run) => run.nonZeroBytes && run.nonZeroBytes / MIB / (run.wallMs / 1000),
  'MiB/s, set-up left out': (run) =>
    run.nonZeroBytes && run.nonZeroBytes / MIB / ((run.wallMs - run.setupMs) / 1000),
  'total ms': (run) => run.wallMs,
  'total ms by the source': (run) => run.totalMs,
  'set-up ms': (run) => run.setupMs,
  'downtime ms by the source': (run) => run.downtimeMs,
  'longest gap ms': (run) => run.heartbeat?.longestGapMs,
  'gap at the switch ms': (run) => run.heartbeat?.switchGapMs,
  'after the last page ms': (run) => run.heartbeat?.afterLastPageMs,
  'usual gap ms': (run) => run.heartbeat?.usualGapMs,
  'sent MiB': (run) => run.transferredBytes / MIB,
  'CPU s per GiB': (run) => perGib(run, cpuSeconds(run)),
  'source user s': (run) => unwatched(run)?.source.userSeconds,
  'source system s': (run) => unwatched(run)?.source.systemSeconds,
  'destination user s': (run) => unwatched(run)?.destination?.userSeconds,
  'destination system s': (run) => unwatched(run)?.destination?.systemSeconds,
  'source memory MiB': (run) => unwatched(run) && run.source.peakBesideRamBytes / MIB,
  'destination memory MiB': (run) => unwatched(run)?.destination && run.destination!.peakBesideRamBytes / MIB,
} satisfies Record<string, (run: Run) => number | undefined>;
export type Measure = keyof typeof MEASURES;
export const ALL_MEASURES = Object.keys(MEASURES) as Measure[];

/** What is compared run by run with QEMU to QEMU: by division, times by how much more they are. */
const COMPARISONS = {
  'MiB/s of non-zero pages': divide,
  'MiB/s, set-up left out': divide,
  'CPU s per GiB': divide,
  'sent MiB': divide,
  'set-up ms': subtract,
  'longest gap ms': subtract,
  'after the last page ms': subtract,
} as const satisfies Partial<Record<Measure, (ours: number, theirs: number) => number>>;
type ComparedMeasure = keyof typeof COMPARISONS;
export const COMPARED_MEASURES = Object.keys(COMPARISONS) as ComparedMeasure[];

/** What a comparison of a measure gives. */
export function isDifference(measure: ComparedMeasure): boolean {
  return COMPARISONS[measure] === subtract;
}

function divide(ours: number, theirs: number): number {
  return ours / theirs;
}

function subtract(ours: number, theirs: number): number {
  return ours - theirs;
}

export type Summary = Partial<Record<Measure, Spread>>;

/** All runs of a row. */
export interface RowResult {
  readonly title: string;
  readonly pair: Row['pair'];
  /** Those that ended well. */
  readonly runs: readonly Run[];
  readonly failedRuns: number;
  readonly summary: Summary;
  /** Of the same run's values, with those of QEMU to QEMU. */
  readonly comparison: Summary;
  /** Why it could not be measured. */
  readonly unsupported?: string;
}

/** What a row's runs gave, in their order; a run that failed is undefined. */
export interface RowRuns {
  readonly row: Row;
  readonly runs: readonly (Run | undefined)[];
  readonly unsupported?: string;
}

export function summarize(all: readonly RowRuns[]): RowResult[] {
  return all.map(({ row, runs, unsupported }) => {
    const title = rowTitle(row);
    const reference = all.find((other) => rowTitle(other.row) === title && other.row.pair === 'qemu-qemu');
    const done = runs.filter((run) => run !== undefined);
    const measured = ALL_MEASURES.map((measure) => [measure, valuesOf(done, MEASURES[measure])] as const);
    const compared = COMPARED_MEASURES.map((measure) => {
      const values = runs.map((run, index) => comparison(measure, run, reference?.runs[index]));
      return [measure, values.filter((value) => value !== undefined)] as const;
    });
    const isReference = row.pair === 'qemu-qemu';
    return {
      title,
      pair: row.pair,
      runs: done,
      failedRuns: runs.length - done.length,
      summary: spreads(measured),
      comparison: isReference ? {} : spreads(compared),
      unsupported,
    };
  });
}

type Value = (run: Run) => number | undefined;

function valuesOf(runs: readonly Run[], value: Value): number[] {
  return runs.map(value).filter((one) => one !== undefined && Number.isFinite(one)) as number[];
}

function comparison(measure: ComparedMeasure, run?: Run, reference?: Run): number | undefined {
  const ours = run && MEASURES[measure](run);
  const theirs = reference && MEASURES[measure](reference);
  if (ours === undefined || theirs === undefined) return undefined;
  const value = COMPARISONS[measure](ours, theirs);
  return Number.isFinite(value) ? value : undefined;
}

function spreads(measured: readonly (readonly [Measure, readonly number[]])[]): Summary {
  const known = measured.filter(([, values]) => values.length > 0);
  return Object.fromEntries(known.map(([measure, values]) => [measure, spreadOf(values)])) as Summary;
}

/** While a heartbeat is watched, the watching is in pageferry's own process: its cost says nothing. */
function unwatched(run: Run): Run | undefined {
  return run.heartbeat === undefined ? run : undefined;
}

/** Of both processes. */
function cpuSeconds(run: Run): number | undefined {
  if (unwatched(run) === undefined) return undefined;
  const costs = [run.source, run.destination].filter((cost) => cost !== undefined);
  return costs.reduce((sum, { userSeconds, systemSeconds }) => sum + userSeconds + systemSeconds, 0);
}

function perGib(run: Run, value: number | undefined): number | undefined {
  return value === undefined || !run.nonZeroBytes ? undefined : value / (run.nonZeroBytes / GIB);
}
