import type { BenchConfig, BenchRun } from './run.ts';

interface Spread {
  median: number;
  min: number;
  max: number;
}

const MEASURES = {
  'non-zero MiB/s': (run) => run.nonZeroBytes / 2 ** 20 / (run.totalMs / 1000),
  'non-zero MiB/s, setup left out': (run) =>
    run.nonZeroBytes / 2 ** 20 / ((run.totalMs - run.setupMs) / 1000),
  'total ms': (run) => run.totalMs,
  'setup ms': (run) => run.setupMs,
  'downtime ms': (run) => run.downtimeMs,
  'sent MiB': (run) => run.transferredBytes / 2 ** 20,
  'source CPU s per non-zero GiB': (run) => run.source.cpuSeconds / (run.nonZeroBytes / 2 ** 30),
  'destination CPU s per non-zero GiB': (run) => run.destination.cpuSeconds / (run.nonZeroBytes / 2 ** 30),
  'source VmHWM - RAM, MiB': (run) => (run.source.vmHwmBytes - run.guestBytes) / 2 ** 20,
  'destination VmHWM - RAM, MiB': (run) => (run.destination.vmHwmBytes - run.guestBytes) / 2 ** 20,
} satisfies Record<string, (run: BenchRun) => number>;
type Measure = keyof typeof MEASURES;

/** One compression method: what each engine did, and how they compare. */
export interface Summary {
  compression: BenchConfig['compression'];
  pageferry: Record<Measure, Spread>;
  qemu?: Record<Measure, Spread>;
  /** pageferry : QEMU, of medians. */
  ratio?: Record<Measure, number>;
}

export function summarize(compression: BenchConfig['compression'], all: readonly BenchRun[]): Summary {
  const of = (engine: BenchRun['engine']) =>
    all.filter((run) => run.engine === engine && run.compression === compression);
  const pageferry = spreads(of('pageferry'));
  const qemuRuns = of('qemu');
  if (qemuRuns.length === 0) return { compression, pageferry };
  const qemu = spreads(qemuRuns);
  const ratio = mapMeasures((measure) => pageferry[measure].median / qemu[measure].median);
  return { compression, pageferry, qemu, ratio };
}

function spreads(runs: readonly BenchRun[]): Record<Measure, Spread> {
  return mapMeasures((measure) => {
    const sorted = runs.map(MEASURES[measure]).sort((a, b) => a - b);
    const middle = sorted.length / 2;
    const median = (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
    return { median, min: sorted[0]!, max: sorted.at(-1)! };
  });
}

function mapMeasures<T>(value: (measure: Measure) => T): Record<Measure, T> {
  const entries = (Object.keys(MEASURES) as Measure[]).map((measure) => [measure, value(measure)] as const);
  return Object.fromEntries(entries) as Record<Measure, T>;
}

/** A table for a person: median (least to most) of each engine, and the ratio. */
export function formatSummary(summaries: readonly Summary[]): string {
  const rows = [['', '', 'pageferry', 'QEMU 10.0', 'pageferry : QEMU']];
  for (const { compression, pageferry, qemu, ratio } of summaries) {
    for (const measure of Object.keys(MEASURES) as Measure[]) {
      rows.push([
        compression,
        measure,
        formatSpread(pageferry[measure]),
        qemu ? formatSpread(qemu[measure]) : '',
        ratio ? ratio[measure].toFixed(2) : '',
      ]);
    }
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column < 2 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
        .join('  '),
    )
    .join('\n');
}

function formatSpread({ median, min, max }: Spread): string {
  const digits = max >= 100 ? 0 : 2;
  return `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;
}
