import { formatBytes, formatCount, formatRate, formatTable, formatTime } from '../format.ts';
import { formatLink, methodName, settingName } from './names.ts';
import type { BenchMeasurement, BenchPrediction, BenchReport } from './report.ts';

/** Settings that a table of predictions shows; the other forms of the report have all. */
const SHOWN_PREDICTIONS = 8;
const MIB = 2 ** 20;

/** The report as text for people, in 100 columns. */
export function benchText(report: BenchReport): string {
  const parts = [input(report), measurements(report), predictions(report), recommendations(report)];
  return parts
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

function input({ input, machine, transport }: BenchReport): string[] {
  const zero = ((input.zeroPages / input.pages) * 100).toFixed(0);
  const scanned = input.scannedPages ?? input.pages;
  const looked = scanned < input.pages ? ` (of ${formatCount(scanned)} that were read)` : '';
  const incompressible = (input.incompressibleShare * 100).toFixed(0);
  const rows = [
    ['input', `${input.name} (${input.kind}), ${formatBytes(input.bytes)}`],
    ['pages', `${formatCount(input.pages)}, ${zero} % zero${looked}`],
    [
      'sample',
      `${formatCount(input.sampledPages)} pages that are not zero, ${incompressible} % incompressible`,
    ],
    ['machine', `${machine.cpus} CPUs, ${machine.cpuModel}; Node ${machine.nodeVersion}`],
    ['memory copy', `${formatRate(machine.memoryCopyBytesPerSecond)} by one thread`],
  ];
  if (transport !== undefined) {
    const cost = `${transport.cpuSecondsPerGib.toFixed(2)} CPU s per GiB for both sides`;
    rows.push(['loopback', `${formatRate(transport.bytesPerSecond)} by two channels, ${cost}`]);
  }
  return formatTable(undefined, rows, 'll');
}

function measurements({ measurements }: BenchReport): string[] {
  const several = new Set(measurements.map(({ packetPages }) => packetPages)).size > 1;
  const header = ['method', 'backend', 'threads', ...(several ? ['packet'] : []), 'ratio'];
  const rates = ['MiB/s', 'per core', 'CPU s/GiB'];
  const rows = measurements.map((one) => [
    methodName(one),
    one.backend ?? '',
    String(one.threads),
    ...(several ? [String(one.packetPages)] : []),
    `${one.ratio.toFixed(2)}${one.pareto ? '*' : ' '}`,
    mib(one.compressBytesPerSecond),
    mib(one.compressBytesPerCpuSecond),
    one.compressCpuSecondsPerGib.toFixed(2),
    mib(one.decompressBytesPerSecond),
    mib(one.decompressBytesPerCpuSecond),
    one.decompressCpuSecondsPerGib.toFixed(2),
  ]);
  const align = `ll${'r'.repeat(header.length - 2 + 6)}`;
  const [head, ...lines] = formatTable([...header, ...rates, ...rates], rows, align);
  const before = head!.indexOf(rates[0]!);
  const half = head!.indexOf(rates[0]!, before + 1) - before;
  return [
    `${' '.repeat(before)}${'compress'.padEnd(half)}decompress`,
    head!,
    ...lines,
    '* nothing with as many threads is both faster and smaller. Rates are of guest pages; none: one copy.',
  ];
}

function mib(bytesPerSecond: number): string {
  return formatCount(Math.round(bytesPerSecond / MIB));
}

function predictions(report: BenchReport): string[] {
  const { guest } = report;
  if (guest === undefined || report.predictions.length === 0) return [];
  const title =
    `A guest of ${formatBytes(guest.bytes)} that dirties ${formatRate(guest.dirtyBytesPerSecond)} ` +
    `in ${formatBytes(guest.workingSetBytes)}, downtime limit ${formatTime(guest.downtimeLimitMs)}`;
  const links = [...new Set(report.predictions.map((one) => one.linkBitsPerSecond))];
  return [title, ...links.flatMap((link) => ['', ...linkTable(report, link)])];
}

function linkTable({ measurements, predictions }: BenchReport, link: number): string[] {
  const here = predictions.filter((one) => one.linkBitsPerSecond === link).sort(byUse);
  const shown = here.slice(0, SHOWN_PREDICTIONS);
  const header = ['total time', 'passes', 'downtime', 'sent', 'held back by'];
  const rows = shown.map((one) => [
    settingName(measurements[one.measurement]!, measurements),
    one.converges ? formatTime(one.totalTimeMs) : 'does not converge',
    String(one.passes),
    formatTime(one.downtimeMs),
    formatBytes(one.transferredBytes),
    heldBack(one, measurements[one.measurement]!),
  ]);
  const left = here.length - shown.length;
  const more = left > 0 ? [`  and ${left} slower ones (--csv, --html and --json have all)`] : [];
  return [...formatTable([`at ${formatLink(link)}`, ...header], rows, 'lrrrrl'), ...more];
}

/** What converges first, fastest first; of the rest the one that stops the guest for the shortest time first. */
function byUse(a: BenchPrediction, b: BenchPrediction): number {
  if (a.converges !== b.converges) return a.converges ? -1 : 1;
  return a.converges ? a.totalTimeMs - b.totalTimeMs : a.downtimeMs - b.downtimeMs;
}

function heldBack({ limitedBy }: BenchPrediction, { codec }: BenchMeasurement): string {
  switch (limitedBy) {
    case 'link':
      return 'link';
    case 'compress':
      return codec === 'none' ? 'sending' : 'compression';
    case 'decompress':
      return codec === 'none' ? 'receiving' : 'decompression';
    case 'dirty-rate':
      return 'dirty rate';
  }
}

function recommendations({ recommendations }: BenchReport): string[] {
  if (recommendations.length === 0) return [];
  const rows = recommendations.map(({ linkBitsPerSecond, reason }) => [
    formatLink(linkBitsPerSecond),
    reason,
  ]);
  const indent = Math.max(...rows.map(([link]) => link!.length)) + 2;
  return [
    'Recommended',
    ...rows.flatMap(([link, reason]) => {
      const [first = '', ...more] = wrap(reason!, 100 - indent - 2);
      return [`  ${link!.padEnd(indent)}${first}`, ...more.map((line) => `  ${' '.repeat(indent)}${line}`)];
    }),
  ];
}

/** Lines of at most `width` characters, broken between words. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
