import type { BenchMeasurement, BenchPrediction, BenchReport } from './report.ts';

type Row = { readonly measurement: BenchMeasurement; readonly prediction?: BenchPrediction };
type Column = readonly [name: string, value: (row: Row) => string | number | boolean | undefined];

const COLUMNS: readonly Column[] = [
  ['codec', ({ measurement }) => measurement.codec],
  ['backend', ({ measurement }) => measurement.backend],
  ['level', ({ measurement }) => measurement.level],
  ['packet_pages', ({ measurement }) => measurement.packetPages],
  ['threads', ({ measurement }) => measurement.threads],
  ['ratio', ({ measurement }) => measurement.ratio],
  ['compress_bytes_per_second', ({ measurement }) => measurement.compressBytesPerSecond],
  ['compress_bytes_per_cpu_second', ({ measurement }) => measurement.compressBytesPerCpuSecond],
  ['compress_cpu_seconds_per_gib', ({ measurement }) => measurement.compressCpuSecondsPerGib],
  ['decompress_bytes_per_second', ({ measurement }) => measurement.decompressBytesPerSecond],
  ['decompress_bytes_per_cpu_second', ({ measurement }) => measurement.decompressBytesPerCpuSecond],
  ['decompress_cpu_seconds_per_gib', ({ measurement }) => measurement.decompressCpuSecondsPerGib],
  ['pareto', ({ measurement }) => measurement.pareto],
  ['link_bits_per_second', ({ prediction }) => prediction?.linkBitsPerSecond],
  ['dirty_bytes_per_second', ({ prediction }) => prediction?.dirtyBytesPerSecond],
  ['total_time_ms', ({ prediction }) => prediction?.totalTimeMs],
  ['passes', ({ prediction }) => prediction?.passes],
  ['downtime_ms', ({ prediction }) => prediction?.downtimeMs],
  ['converges', ({ prediction }) => prediction?.converges],
  ['transferred_bytes', ({ prediction }) => prediction?.transferredBytes],
  ['limited_by', ({ prediction }) => prediction?.limitedBy],
];

/** A row for each measurement at each link speed (RFC 4180, with a header); each row stands for itself. */
export function benchCsv(report: BenchReport): string {
  const rows = report.measurements.flatMap((measurement, index): Row[] => {
    const predictions = report.predictions.filter((one) => one.measurement === index);
    return predictions.length === 0
      ? [{ measurement }]
      : predictions.map((prediction) => ({ measurement, prediction }));
  });
  const lines = [
    COLUMNS.map(([name]) => name),
    ...rows.map((row) => COLUMNS.map(([, value]) => field(value(row)))),
  ];
  return lines.map((line) => `${line.join(',')}\r\n`).join('');
}

function field(value: string | number | boolean | undefined): string {
  if (value === undefined) return '';
  const text = typeof value === 'number' ? shortNumber(value) : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Six significant digits are more than any measurement has; whole numbers stay whole. */
function shortNumber(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}
