import { MigrationError } from '@pageferry/core';
import { CODEC_BACKENDS, type CodecBackend, MIGRATE_DEFAULTS } from '@pageferry/core/control';
import type { MeasuredCodec, SourceKind } from '@pageferry/workers/measure';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseInteger, parseMilliseconds, parseSize } from '../values.ts';

/** What commander gives for the flags of `pageferry bench`. */
export interface BenchFlags {
  quick?: boolean;
  kind?: SourceKind;
  memory?: number;
  codec?: MeasuredCodec[];
  backend?: CodecBackend[];
  level?: number[];
  threads?: number[];
  packetPages?: number[];
  link: number[];
  dirtyRate: number;
  workingSet?: number;
  downtimeLimit: number;
  guestMemory?: number;
  sourceCpus?: number;
  destinationCpus?: number;
  html?: string;
  csv?: string;
}

/** Named here as well: the measuring library is not loaded for the sake of a list. */
const MEASURED_CODECS = ['none', 'lz4', 'zlib', 'zstd'] as const satisfies MeasuredCodec[];
const SOURCE_KINDS = ['capture', 'image', 'core-dump'] as const satisfies SourceKind[];
const MAX_LIST = 64;
const GIGABIT = 1e9;
const DEFAULT_LINKS = [1, 10, 25, 100].map((speed) => speed * GIGABIT);
const MAX_LINK_BITS = 1e15;
const DEFAULT_DIRTY_RATE = 64 * 2 ** 20;
const MAX_CPUS = 4096;

/** Adds the flags, in three groups: what is measured, for which migration, and where the report goes. */
export function addBenchFlags(command: Command): void {
  const add = (group: string, option: Option) => command.addOption(option.helpGroup(group));
  const measured = 'What to measure:';
  add(measured, new Option('--quick', 'fewer settings and a smaller sample: less than 20 s'));
  const kind = new Option('--kind <kind>', 'what the input is (default: what its first bytes say)');
  add(measured, kind.choices(SOURCE_KINDS));
  const memory = 'size of the generated mix, without an input (default: 256M, 64M with --quick)';
  add(measured, new Option('--memory <size>', memory).argParser(parsePages));
  const codecs = new Option('--codec <names>', `of ${MEASURED_CODECS.join(', ')} (default: all)`);
  add(measured, codecs.argParser(listOf(oneOf(MEASURED_CODECS))));
  const backends = new Option(
    '--backend <names>',
    'implementations (default: all; with --quick the usual ones)',
  );
  add(measured, backends.argParser(listOf(oneOf(CODEC_BACKENDS))));
  const levels = new Option(
    '--level <n,...>',
    'of zlib and zstd (default: zlib 1,6 zstd 1,3,9; --quick less)',
  );
  add(measured, levels.argParser(listOf(parseInteger(0, 20))));
  const threads = 'channels, a thread each (default: 1, 2, 4 ... up to the CPUs, at most 8)';
  add(measured, new Option('--threads <n,...>', threads).argParser(listOf(parseInteger(1, 255))));
  const packets = 'pages in a packet (default: 128, as QEMU and pageferry send)';
  add(measured, new Option('--packet-pages <n,...>', packets).argParser(listOf(parseInteger(1, 128))));

  const predicted = 'The migration to predict:';
  const links = new Option('--link <speeds>', 'bits per second, such as 10G,2.5G');
  add(predicted, links.argParser(listOf(parseBitRate)).default(DEFAULT_LINKS, '1G,10G,25G,100G'));
  const dirty = new Option('--dirty-rate <size>', "bytes of pages that the guest's writes touch per second");
  add(predicted, dirty.argParser(parseSize).default(DEFAULT_DIRTY_RATE, '64M'));
  const workingSet = 'memory that the writes are spread over (default: all)';
  add(predicted, new Option('--working-set <size>', workingSet).argParser(parseSize));
  const limit = new Option('--downtime-limit <time>', 'how long the guest may stand still, in ms');
  add(predicted, limit.argParser(parseMilliseconds).default(MIGRATE_DEFAULTS.downtimeLimitMs));
  const guest = "the guest's RAM (default: the input's; 16G for the generated mix)";
  add(predicted, new Option('--guest-memory <size>', guest).argParser(parsePages));
  const cpus = (side: string) =>
    new Option(`--${side}-cpus <n>`, `CPUs of the ${side} (default: this machine's)`);
  for (const side of ['source', 'destination'])
    add(predicted, cpus(side).argParser(parseInteger(1, MAX_CPUS)));

  const report = 'The report:';
  add(report, new Option('--html <file>', 'a page with charts and all figures, for a browser'));
  add(report, new Option('--csv <file>', 'all figures as a table; - is stdout'));
}

/** @throws MigrationError `bad-option` for flags that contradict each other or the input */
export function checkBenchFlags(flags: BenchFlags, input: string | undefined, json: boolean): void {
  if (input !== undefined && flags.memory !== undefined) {
    throw new MigrationError('bad-option', '--memory is for the generated mix, and there is an input');
  }
  if (input === undefined && flags.kind !== undefined) {
    throw new MigrationError('bad-option', '--kind is for an input, and there is none');
  }
  if (json && flags.csv === '-') {
    throw new MigrationError('bad-option', '--json and --csv - both want stdout');
  }
}

/** A list with commas; the same value twice counts once. */
function listOf<T>(parse: (text: string) => T): (text: string) => T[] {
  return (text) => {
    const parts = text.split(',');
    if (parts.length > MAX_LIST) throw new InvalidArgumentError(`At most ${MAX_LIST} values.`);
    return [...new Set(parts.map((part) => parse(part.trim())))];
  };
}

function oneOf<T extends string>(names: readonly T[]): (text: string) => T {
  return (text) => {
    const name = names.find((one) => one === text);
    if (name !== undefined) return name;
    throw new InvalidArgumentError(`Expected one of ${names.join(', ')}, or several with commas.`);
  };
}

/** A size in whole pages, at least one. */
function parsePages(text: string): number {
  const bytes = parseSize(text);
  if (bytes > 0 && bytes % 4096 === 0) return bytes;
  throw new InvalidArgumentError('A size of memory is a multiple of 4096 bytes.');
}

const BIT_UNITS: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };

/** Bits per second: a number, or one with the decimal suffix `k`, `M`, `G` or `T`. */
function parseBitRate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmgt])?$/i.exec(text);
  const unit = match === null ? undefined : BIT_UNITS[(match[2] ?? '').toLowerCase()];
  const bits = match === null || unit === undefined ? Number.NaN : Number(match[1]) * unit;
  if (bits >= 1 && bits <= MAX_LINK_BITS) return bits;
  throw new InvalidArgumentError('A link speed is a number of bits per second, or one such as 10G or 2.5G.');
}
