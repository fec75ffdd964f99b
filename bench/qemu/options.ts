import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MODES, type ModeName, PAIRS, type Pair } from './modes.ts';

const GUESTS = ['content', 'linux', 'tiny'] as const;
export type GuestName = (typeof GUESTS)[number];

export const USAGE = `usage: npm run bench:qemu -- [options]
  --qemu PATH          QEMU 9.0 or later; by default the 10.0 that scripts/qemu-lab installs
  --guest NAME         whose memory moves: content (a generated mix, the default), linux (a Linux guest full of
                       this machine's files), tiny (nearly all zero)
  --memory SIZE        the guest's RAM, such as 256M or 1G (the default); modes idle, dirtying and xbzrle take at most 3G
  --runs N             how often each is measured, in turns (7)
  --modes A,B          of ${MODES.join(',')}
  --channels 1,2,4     multifd channels
  --pairs A,B          of ${PAIRS.join(',')}
  --dirty-rate SIZE    a second, of modes dirtying and xbzrle (128M)
  --working-set SIZE   of modes dirtying and xbzrle (64M)
  --cache DIR          where the Linux guest is kept
  --json FILE|-        everything that was measured; - is stdout
  --baseline FILE      keeps the medians for a later --compare
  --compare FILE       what changed since that baseline (or --json file)`;

export interface BenchOptions {
  readonly qemu?: string;
  readonly guest: GuestName;
  readonly memoryBytes: number;
  readonly runs: number;
  readonly modes: readonly ModeName[];
  readonly channels: readonly number[];
  readonly pairs: readonly Pair[];
  readonly dirtyRateBytesPerSecond: number;
  readonly workingSetBytes: number;
  readonly cacheFolder: string;
  readonly json?: string;
  readonly baseline?: string;
  readonly compare?: string;
}

/** A command line that cannot be. */
export class UsageError extends Error {}

/** @throws UsageError */
export function parseOptions(args: readonly string[]): BenchOptions {
  const values = parse(args);
  const options: BenchOptions = {
    qemu: values.qemu,
    guest: oneOf('guest', values.guest, GUESTS),
    memoryBytes: size('memory', values.memory),
    runs: count('runs', values.runs),
    modes: list(values.modes).map((text) => oneOf('modes', text, MODES)),
    channels: list(values.channels).map((text) => count('channels', text)),
    pairs: list(values.pairs).map((text) => oneOf('pairs', text, PAIRS)),
    dirtyRateBytesPerSecond: size('dirty-rate', values['dirty-rate']),
    workingSetBytes: size('working-set', values['working-set']),
    cacheFolder: values.cache,
    json: values.json,
    baseline: values.baseline,
    compare: values.compare,
  };
  if (options.workingSetBytes > options.memoryBytes / 2)
    throw new UsageError('--working-set is at most half of --memory');
  return options;
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        qemu: { type: 'string' },
        guest: { type: 'string', default: 'content' },
        memory: { type: 'string', default: '1G' },
        runs: { type: 'string', default: '7' },
        modes: { type: 'string', default: MODES.join(',') },
        channels: { type: 'string', default: '1,2,4' },
        pairs: { type: 'string', default: PAIRS.join(',') },
        'dirty-rate': { type: 'string', default: '128M' },
        'working-set': { type: 'string', default: '64M' },
        cache: { type: 'string', default: join(tmpdir(), 'pageferry-bench') },
        json: { type: 'string' },
        baseline: { type: 'string' },
        compare: { type: 'string' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function list(text: string): string[] {
  return [...new Set(text.split(',').filter(Boolean))];
}

function oneOf<T extends string>(name: string, text: string, names: readonly T[]): T {
  const found = names.find((known) => known === text);
  if (found === undefined) throw new UsageError(`--${name} takes ${names.join(', ')}, not ${text}`);
  return found;
}

function count(name: string, text: string): number {
  if (/^[1-9]\d{0,2}$/.test(text) && Number(text) <= 255) return Number(text);
  throw new UsageError(`--${name} takes 1 to 255, not ${text}`);
}

/** In bytes. */
function size(name: string, text: string): number {
  const match = /^([1-9]\d{0,6})([MG])$/.exec(text);
  if (!match) throw new UsageError(`--${name} takes MiB or GiB, such as 512M or 2G, not ${text}`);
  return Number(match[1]) * (match[2] === 'G' ? 2 ** 30 : 2 ** 20);
}
