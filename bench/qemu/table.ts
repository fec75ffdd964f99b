import type { MachineLimits } from './limits.ts';
import type { MachineDescription } from './machine.ts';
import type { BenchReport } from './report.ts';
import type { Spread } from './statistics.ts';
import { ALL_MEASURES, COMPARED_MEASURES, isDifference, type RowResult } from './summary.ts';

/** Everything for a person, as Markdown tables. */
export function formatReport({ machine, limits, guest, rows }: BenchReport): string {
  const { name, memoryBytes, nonZeroBytes } = guest;
  const guestLine =
    `Guest ${name}: ${memoryBytes / 2 ** 20} MiB, ${Math.round(nonZeroBytes / 2 ** 20)} of them not zero. ` +
    'Medians, least and most in brackets.';
  return [
    describe(machine),
    formatLimits(limits),
    guestLine,
    formatMedians(rows),
    formatComparisons(rows),
  ].join('\n\n');
}

function describe(machine: MachineDescription): string {
  const { cpu, cpus, memoryBytes, kernel, hugePages, sharedHugePages, node, qemu } = machine;
  return (
    `${cpus} CPUs (${cpu}), ${Math.round(memoryBytes / 2 ** 30)} GiB, Linux ${kernel}, huge pages ${hugePages}, ` +
    `in memory files ${sharedHugePages}; Node ${node}, QEMU ${qemu}.`
  );
}

function formatLimits({ memoryCopy, loopback }: MachineLimits): string {
  return formatTable([
    ['MiB/s of the machine itself', 'one', 'two'],
    ['memory copy (threads)', formatSpread(memoryCopy.one), formatSpread(memoryCopy.two)],
    ['loopback (plain sockets)', formatSpread(loopback.one), formatSpread(loopback.two)],
  ]);
}

/** A line for each measure of each mode, a column for each pair. */
function formatMedians(rows: readonly RowResult[]): string {
  const pairs = pairsOf(rows);
  const lines = titlesOf(rows).flatMap((title) =>
    ALL_MEASURES.flatMap((measure) => {
      const cells = pairs.map((pair) => rowOf(rows, title, pair)?.summary[measure]);
      if (cells.every((cell) => cell === undefined)) return [];
      return [[title, measure, ...cells.map((cell) => (cell === undefined ? '' : formatSpread(cell)))]];
    }),
  );
  return [formatTable([['mode', '', ...pairs], ...lines]), ...notMeasured(rows)].join('\n');
}

/** How the pairs compare with QEMU to QEMU, run by run. */
function formatComparisons(rows: readonly RowResult[]): string {
  const pairs = pairsOf(rows).filter((pair) => pair !== 'qemu-qemu');
  const lines = titlesOf(rows).flatMap((title) =>
    COMPARED_MEASURES.flatMap((measure) => {
      const cells = pairs.map((pair) => rowOf(rows, title, pair)?.comparison[measure]);
      if (cells.every((cell) => cell === undefined)) return [];
      const name = isDifference(measure) ? `${measure} more` : measure;
      return [[title, name, ...cells.map((cell) => (cell === undefined ? '' : formatSpread(cell)))]];
    }),
  );
  if (lines.length === 0) return 'QEMU to QEMU was not measured beside others: nothing to compare.';
  return `Divided by QEMU to QEMU (times: how much more), run by run:\n\n${formatTable([['mode', '', ...pairs], ...lines])}`;
}

function notMeasured(rows: readonly RowResult[]): string[] {
  return rows.flatMap(({ title, pair, runs, failedRuns, unsupported }) => {
    if (unsupported !== undefined) return [`${title}, ${pair}: not supported yet (${unsupported})`];
    return failedRuns > 0
      ? [`${title}, ${pair}: ${failedRuns} of ${failedRuns + runs.length} runs failed`]
      : [];
  });
}

function pairsOf(rows: readonly RowResult[]): string[] {
  return [...new Set(rows.map(({ pair }) => pair))];
}

function titlesOf(rows: readonly RowResult[]): string[] {
  return [...new Set(rows.map(({ title }) => title))];
}

function rowOf(rows: readonly RowResult[], title: string, pair: string): RowResult | undefined {
  return rows.find((row) => row.title === title && row.pair === pair);
}

/** The first row is the head; the first two columns hold words, the others numbers. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const [head, ...body] = rows as [readonly string[], ...(readonly string[])[]];
  const widths = head.map((_, column) => Math.max(3, ...rows.map((row) => row[column]!.length)));
  const isNumber = head.map((_, column) => column > 0 && body.some((row) => /^[-\d.]/.test(row[column]!)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, at) => (isNumber[at] ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!))).join(' | ')} |`;
  const rule = `|${widths.map((width, at) => `${'-'.repeat(width + 1)}${isNumber[at] ? ':' : '-'}`).join('|')}|`;
  return [line(head), rule, ...body.map(line)].join('\n');
}

function formatSpread({ median, min, max }: Spread): string {
  const digits = max >= 100 ? 0 : max >= 10 ? 1 : 2;
  if (min === max) return median.toFixed(digits);
  return `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;
}
