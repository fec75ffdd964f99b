import type { Forecast } from '@pageferry/core/forecast';

const MIB = 2 ** 20;

/** One migration: what was predicted, and what it was. */
export interface PredictionCase {
  readonly setting: string;
  /** Bytes per second, 0 is unlimited. */
  readonly maxBandwidth: number;
  readonly dirtyRate: number;
  /** CPUs that there were for it. */
  readonly cpus: number;
  readonly predicted: Forecast;
  /** Absent when it did not converge in time. */
  readonly measured: { totalTimeMs: number; downtimeMs: number; passes: number } | undefined;
}

/** How far the predicted total times were off, as shares of the measured ones. */
export interface PredictionErrors {
  readonly migrations: number;
  readonly median: number;
  /** 9 of 10 are below. */
  readonly ninth: number;
  readonly worst: number;
  /** How often it was right whether a migration converges. */
  readonly convergenceRight: number;
}

export function predictionErrors(cases: readonly PredictionCase[]): PredictionErrors {
  const errors = cases
    .flatMap(({ predicted, measured }) =>
      measured && predicted.converges ? [Math.abs(predicted.totalTimeMs / measured.totalTimeMs - 1)] : [],
    )
    .sort((a, b) => a - b);
  const at = (share: number) => errors[Math.round(share * (errors.length - 1))] ?? Number.NaN;
  const right = cases.filter(({ predicted, measured }) => predicted.converges === (measured !== undefined));
  return {
    migrations: cases.length,
    median: at(0.5),
    ninth: at(0.9),
    worst: at(1),
    convergenceRight: right.length,
  };
}

const HEADER = [
  ...['setting', 'link MiB/s', 'dirty MiB/s', 'CPUs', 'predicted ms', 'measured ms', 'error'],
  ...['downtime predicted', 'measured', 'passes predicted', 'measured'],
];

export function caseRow({
  setting,
  maxBandwidth,
  dirtyRate,
  cpus,
  predicted,
  measured,
}: PredictionCase): string[] {
  const ms = (value: number) => value.toFixed(0);
  const known = measured !== undefined && predicted.converges;
  return [
    setting,
    maxBandwidth === 0 ? 'unlimited' : String(maxBandwidth / MIB),
    String(dirtyRate / MIB),
    cpus.toFixed(1),
    predicted.converges ? ms(predicted.totalTimeMs) : 'never',
    measured ? ms(measured.totalTimeMs) : 'never',
    known ? percent(predicted.totalTimeMs / measured.totalTimeMs - 1) : '',
    ms(predicted.downtimeMs),
    measured ? ms(measured.downtimeMs) : '',
    String(predicted.passes),
    measured ? String(measured.passes) : '',
  ];
}

/** A Markdown table, and a sentence. */
export function predictionTable(cases: readonly PredictionCase[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const { migrations, median, ninth, worst, convergenceRight } = predictionErrors(cases);
  return [
    line(HEADER),
    `|${'---|'.repeat(HEADER.length)}`,
    ...cases.map((one) => line(caseRow(one))),
    '',
    `${migrations} migrations; error of the total time: median ${percent(median)}, 9 of 10 below ${percent(ninth)}, ` +
      `at most ${percent(worst)}; whether it converges was right ${convergenceRight} times`,
  ].join('\n');
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}
