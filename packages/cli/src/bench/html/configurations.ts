import { methodName } from '../names.ts';
import type { BenchMeasurement, BenchPrediction, BenchReport } from '../report.ts';
import { plural } from './figures.ts';

/** A measurement with its index, which predictions and recommendations refer to. */
export interface Configuration {
  readonly index: number;
  readonly measurement: BenchMeasurement;
}

export function configurationsOf(report: BenchReport): Configuration[] {
  return report.measurements.map((measurement, index) => ({ index, measurement }));
}

/** @throws RangeError when the report refers to a measurement that it does not hold */
export function configurationAt(report: BenchReport, index: number): Configuration {
  const measurement = report.measurements[index];
  if (measurement === undefined) throw new RangeError(`the report has no measurement ${index}`);
  return { index, measurement };
}

/** What tells configurations apart besides method and level. */
interface Differences {
  readonly backends: ReadonlyMap<string, ReadonlySet<string>>;
  readonly threads: boolean;
  readonly packets: boolean;
}

function differencesOf(others: readonly Configuration[]): Differences {
  const backends = new Map<string, Set<string>>();
  for (const { measurement } of others) {
    const known = backends.get(methodName(measurement)) ?? new Set();
    backends.set(methodName(measurement), known.add(measurement.backend ?? ''));
  }
  return {
    backends,
    threads: new Set(others.map(({ measurement }) => measurement.threads)).size > 1,
    packets: new Set(others.map(({ measurement }) => measurement.packetPages)).size > 1,
  };
}

/** Method and level, and the backend where `others` have the same method and level with another backend. */
export function methodNamer(others: readonly Configuration[]): (configuration: Configuration) => string {
  const { backends } = differencesOf(others);
  return ({ measurement }) => {
    const several = (backends.get(methodName(measurement))?.size ?? 0) > 1;
    return several && measurement.backend !== undefined
      ? `${methodName(measurement)} ${measurement.backend}`
      : methodName(measurement);
  };
}

/** The shortest name that tells a configuration from the `others`: threads and packet size where those differ. */
export function namer(others: readonly Configuration[]): (configuration: Configuration) => string {
  const { threads, packets } = differencesOf(others);
  const name = methodNamer(others);
  return (configuration) => {
    const { measurement } = configuration;
    const parts = [name(configuration)];
    if (threads) parts.push(plural(measurement.threads, 'thread'));
    if (packets) parts.push(`${plural(measurement.packetPages, 'page')} a packet`);
    return parts.join(', ');
  };
}

/** The same for the lines of a chart, where there is little room: `zstd 3 ×2` with two threads. */
export function shortNamer(others: readonly Configuration[]): (configuration: Configuration) => string {
  const { threads, packets } = differencesOf(others);
  const name = methodNamer(others);
  return (configuration) => {
    const { measurement } = configuration;
    const size = packets ? ` /${measurement.packetPages}` : '';
    return `${name(configuration)}${threads ? ` ×${measurement.threads}` : ''}${size}`;
  };
}

/** What the short names of `others` mean, in words; undefined when they need none. */
export function shortNameKey(others: readonly Configuration[]): string | undefined {
  const { threads, packets } = differencesOf(others);
  const words = [
    ...(threads ? ['×2: with 2 threads'] : []),
    ...(packets ? ['/128: 128 pages a packet'] : []),
  ];
  return words.length > 0 ? words.join('; ') : undefined;
}

/** Configurations that can be compared fairly: as many threads, the same packet size. */
export interface Group {
  readonly threads: number;
  readonly packetPages: number;
  readonly members: readonly Configuration[];
}

/** All groups; first the one that most recommendations come from, then the larger ones. */
export function groupsOf(report: BenchReport): Group[] {
  const groups = new Map<string, { threads: number; packetPages: number; members: Configuration[] }>();
  for (const configuration of configurationsOf(report)) {
    const { threads, packetPages } = configuration.measurement;
    const key = `${threads}/${packetPages}`;
    const group = groups.get(key) ?? { threads, packetPages, members: [] };
    group.members.push(configuration);
    groups.set(key, group);
  }
  const recommended = (group: Group) =>
    report.recommendations.filter(({ measurement }) =>
      group.members.some(({ index }) => index === measurement),
    ).length;
  return Array.from(groups.values()).sort(
    (a, b) => recommended(b) - recommended(a) || b.members.length - a.members.length || a.threads - b.threads,
  );
}

export function groupTitle({ threads, packetPages }: Pick<Group, 'threads' | 'packetPages'>): string {
  return `${plural(threads, 'thread')}, ${plural(packetPages, 'page')} a packet`;
}

/** Colour and shape are by codec: the known ones always have the same, so that two reports compare at a glance. */
const KNOWN_SLOTS: ReadonlyMap<string, number> = new Map([
  ['none', 0],
  ['zlib', 1],
  ['zstd', 2],
  ['lz4', 3],
  ['adaptive', 4],
]);

const CODEC_SLOTS = 8;

/** Slot (0 to 7) of each codec of the report, in the order of their first appearance. */
export function codecSlots(report: BenchReport): Map<string, number> {
  const slots = new Map<string, number>();
  let next = KNOWN_SLOTS.size;
  for (const { codec } of report.measurements) {
    if (slots.has(codec)) continue;
    const known = KNOWN_SLOTS.get(codec);
    if (known !== undefined) {
      slots.set(codec, known);
      continue;
    }
    slots.set(codec, next);
    next = next + 1 < CODEC_SLOTS ? next + 1 : KNOWN_SLOTS.size;
  }
  return slots;
}

/** What holds a migration back, in a word. */
export function limitOf({ limitedBy }: BenchPrediction, { measurement }: Configuration): string {
  switch (limitedBy) {
    case 'link':
      return 'link';
    case 'compress':
      return measurement.codec === 'none' ? 'sending' : 'compression';
    case 'decompress':
      return measurement.codec === 'none' ? 'receiving' : 'decompression';
    case 'dirty-rate':
      return 'dirty rate';
  }
}
