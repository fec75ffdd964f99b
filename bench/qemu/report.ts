import { readFileSync } from 'node:fs';
import type { MachineLimits } from './limits.ts';
import type { MachineDescription } from './machine.ts';
import type { BenchOptions } from './options.ts';
import { ALL_MEASURES, type RowResult, type Summary } from './summary.ts';
import { formatTable } from './table.ts';

/** What `--json` writes. */
export interface BenchReport {
  readonly date: string;
  readonly machine: MachineDescription;
  readonly limits: MachineLimits;
  readonly guest: { readonly name: string; readonly memoryBytes: number; readonly nonZeroBytes: number };
  readonly options: BenchOptions;
  readonly rows: readonly RowResult[];
}

/** What `--baseline` keeps, and `--compare` needs: the report without its single runs. */
export interface Baseline extends Omit<BenchReport, 'rows' | 'options'> {
  readonly rows: readonly Omit<RowResult, 'runs'>[];
}

export function toBaseline({ date, machine, limits, guest, rows }: BenchReport): Baseline {
  return { date, machine, limits, guest, rows: rows.map(({ runs: _, ...row }) => row) };
}

/** @throws when the file is no baseline or report */
export function readBaseline(path: string): Baseline {
  const value = JSON.parse(readFileSync(path, 'utf8')) as Partial<Baseline> | null;
  if (typeof value?.date !== 'string' || !Array.isArray(value.rows))
    throw new Error(`${path} is no baseline`);
  return value as Baseline;
}

/**
 * What changed since the baseline, as a table: medians now divided by medians then, of every row that is in
 * both. Another guest or machine is said in words above it.
 */
export function formatComparison(report: BenchReport, baseline: Baseline): string {
  const body = report.rows.flatMap((row) => {
    const then = baseline.rows.find(({ title, pair }) => title === row.title && pair === row.pair);
    return then === undefined ? [] : changes(row, then.summary);
  });
  const head = ['mode', '', 'pair', 'then', 'now', 'now : then'];
  const warnings = differences(report, baseline).map((what) => `Not the same as then: ${what}.`);
  return [...warnings, `Compared with ${baseline.date}:`, '', formatTable([head, ...body])].join('\n');
}

function changes({ title, pair, summary }: RowResult, then: Summary): string[][] {
  return ALL_MEASURES.flatMap((measure) => {
    const [before, after] = [then[measure]?.median, summary[measure]?.median];
    if (before === undefined || after === undefined) return [];
    const ratio = before === 0 ? '' : (after / before).toFixed(2);
    return [[title, measure, pair, before.toFixed(2), after.toFixed(2), ratio]];
  });
}

function differences(now: BenchReport, then: Baseline): string[] {
  const parts: [string, unknown, unknown][] = [
    ['the machine', now.machine, then.machine],
    ['the guest', now.guest, then.guest],
  ];
  return parts
    .filter(([, left, right]) => JSON.stringify(left) !== JSON.stringify(right))
    .map(([what, left, right]) => `${what} (${JSON.stringify(right)}, now ${JSON.stringify(left)})`);
}
