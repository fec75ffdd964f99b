import { MigrationError } from '@pageferry/core';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import { MULTIFD_PAGES_PER_PACKET } from '@pageferry/core/wire';
import { CODECS } from '../codecs/registry.ts';

/** The codecs that can be measured: those whose work does not depend on the link. */
export const MEASURED_CODECS = ['none', 'lz4', 'zlib', 'zstd'] as const satisfies MultifdCompression[];
export type MeasuredCodec = (typeof MEASURED_CODECS)[number];

/** One way of compressing. */
export interface Setting {
  readonly codec: MeasuredCodec;
  /** What compresses; undefined for `none`. */
  readonly backend: CodecBackend | undefined;
  /** Undefined for codecs without levels. */
  readonly level: number | undefined;
  /** Most pages of a packet, 1 to 128. */
  readonly packetPages: number;
  readonly threads: number;
}

/** What to measure; what is left out is chosen by `thorough` and the machine. */
export interface Selection {
  readonly codecs?: readonly MeasuredCodec[];
  readonly backends?: readonly CodecBackend[];
  readonly levels?: readonly number[];
  readonly packetPages?: readonly number[];
  readonly threads?: readonly number[];
  /** All backends and more levels, where nothing else is said. */
  readonly thorough: boolean;
  /** CPUs of this machine. */
  readonly cpus: number;
}

const LEVELS: Readonly<
  Record<string, { readonly few: readonly number[]; readonly many: readonly number[] }>
> = {
  zlib: { few: [1], many: [1, 6] },
  zstd: { few: [1, 3], many: [1, 3, 9] },
};
const MAX_THREADS = 255;
/** More threads than this are measured only when asked for. */
const DEFAULT_THREADS_MOST = 8;

/**
 * All combinations of what was selected, as far as they exist.
 *
 * @throws MigrationError `bad-option` for a value out of range, or one that no selected codec has
 */
export function listSettings(selection: Selection): Setting[] {
  const { codecs = MEASURED_CODECS, packetPages = [MULTIFD_PAGES_PER_PACKET] } = selection;
  const threads = selection.threads ?? defaultThreads(selection);
  checkRange('packet-pages', packetPages, MULTIFD_PAGES_PER_PACKET);
  checkRange('threads', threads, MAX_THREADS);
  const ways = unique(codecs).flatMap((codec) => waysOf(codec, selection));
  checkUsed(selection, ways);
  return ways.flatMap((way) =>
    unique(packetPages).flatMap((pages) =>
      unique(threads).map((count) => ({ ...way, packetPages: pages, threads: count })),
    ),
  );
}

type Way = Pick<Setting, 'codec' | 'backend' | 'level'>;

function waysOf(name: MeasuredCodec, { backends, levels, thorough }: Selection): Way[] {
  const codec = CODECS[name];
  const known = codec.compressBackends;
  if (known.length === 0) return [{ codec: name, backend: undefined, level: undefined }];
  const chosen = backends
    ? known.filter((one) => backends.includes(one))
    : thorough
      ? known
      : known.slice(0, 1);
  if (codec.levels === undefined) {
    return chosen.map((backend) => ({ codec: name, backend, level: undefined }));
  }
  const { least, most } = codec.levels;
  const usual = LEVELS[name]!;
  const wanted = levels ? unique(levels) : thorough ? usual.many : usual.few;
  const possible = wanted.filter((level) => level >= least && level <= most);
  return possible.flatMap((level) => chosen.map((backend) => ({ codec: name, backend, level })));
}

/** Every value that was asked for by name must be in something that is measured. */
function checkUsed({ codecs, backends, levels }: Selection, ways: readonly Way[]): void {
  for (const codec of codecs ?? []) {
    if (ways.some((way) => way.codec === codec)) continue;
    throw new MigrationError('bad-option', `nothing of ${codec} is left to measure`, {
      expected: `a backend and a level that ${codec} has: ${CODECS[codec].compressBackends.join(', ')}`,
    });
  }
  const all = Object.values(CODECS).flatMap((codec) => codec.compressBackends);
  for (const backend of backends ?? []) {
    if (ways.some((way) => way.backend === backend)) continue;
    const expected = unique(all).join(', ');
    throw new MigrationError('bad-option', 'no codec that is measured has this backend', {
      found: backend,
      expected,
    });
  }
  for (const level of levels ?? []) {
    if (ways.some((way) => way.level === level)) continue;
    throw new MigrationError('bad-option', 'no codec that is measured has this level', {
      found: String(level),
      expected: 'zlib 0 to 9, zstd 0 to 20',
    });
  }
}

function defaultThreads({ thorough, cpus }: Selection): number[] {
  const most = Math.max(1, Math.min(DEFAULT_THREADS_MOST, cpus));
  if (!thorough) return unique([1, most]);
  const powers = Array.from({ length: Math.floor(Math.log2(most)) + 1 }, (_, i) => 2 ** i);
  return unique([...powers, most]);
}

function checkRange(name: string, values: readonly number[], most: number): void {
  for (const value of values) {
    if (Number.isInteger(value) && value >= 1 && value <= most) continue;
    throw new MigrationError('bad-option', `${name} is out of range`, {
      found: String(value),
      expected: `an integer from 1 to ${most}`,
    });
  }
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
