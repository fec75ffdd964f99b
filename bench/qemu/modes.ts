/** What is measured, by name: `--modes` takes these. */

type Engine = 'qemu' | 'pageferry';

/** Who sends to whom; the first one is what all others are compared with. */
export const PAIRS = ['qemu-qemu', 'pageferry-pageferry', 'qemu-pageferry', 'pageferry-qemu'] as const;
export type Pair = (typeof PAIRS)[number];

/**
 * - `still`: a guest that stands still moves over loopback, between two processes;
 * - `file`: it is written to a mapped-ram file in memory, by one process;
 * - `heartbeat`: a guest that runs and moves; what counts is how long it stood still, seen from outside.
 */
type ModeKind = 'still' | 'file' | 'heartbeat';

export interface Mode {
  readonly kind: ModeKind;
  readonly multifd: boolean;
  readonly compression: 'none' | 'zlib' | 'zstd';
  readonly level: number;
  /** Whether a running guest writes its working set. */
  readonly dirtying: boolean;
  /** Pages that were sent before go as their changes. */
  readonly xbzrle: boolean;
}

const STILL: Mode = {
  kind: 'still',
  multifd: true,
  compression: 'none',
  level: 1,
  dirtying: false,
  xbzrle: false,
};

const MODES_BY_NAME = {
  none: STILL,
  zlib1: { ...STILL, compression: 'zlib' },
  zstd1: { ...STILL, compression: 'zstd' },
  zstd3: { ...STILL, compression: 'zstd', level: 3 },
  plain: { ...STILL, multifd: false },
  'mapped-ram': { ...STILL, kind: 'file' },
  idle: { ...STILL, kind: 'heartbeat' },
  dirtying: { ...STILL, kind: 'heartbeat', dirtying: true },
  xbzrle: { ...STILL, kind: 'heartbeat', dirtying: true, multifd: false, xbzrle: true },
} as const satisfies Record<string, Mode>;

export type ModeName = keyof typeof MODES_BY_NAME;
export const MODES = Object.keys(MODES_BY_NAME) as ModeName[];

/** One thing to be measured, as often as there are runs. */
export interface Row {
  readonly name: ModeName;
  readonly mode: Mode;
  /** Absent without multifd. */
  readonly channels?: number;
  readonly pair: Pair;
}

/** The rows in which they are measured and printed: the pairs of a mode next to each other. */
export function rowsOf(
  names: readonly ModeName[],
  channels: readonly number[],
  pairs: readonly Pair[],
): Row[] {
  return names.flatMap((name) => {
    const mode: Mode = MODES_BY_NAME[name];
    const counts: readonly (number | undefined)[] = mode.multifd ? channels : [undefined];
    return counts.flatMap((count) =>
      pairs.filter((pair) => isPossible(mode, pair)).map((pair) => ({ name, mode, channels: count, pair })),
    );
  });
}

/** A file has one side only, and a running guest is known only to its own engine. */
function isPossible(mode: Mode, pair: Pair): boolean {
  const [source, destination] = enginesOf(pair);
  return mode.kind === 'still' || source === destination;
}

export function enginesOf(pair: Pair): [Engine, Engine] {
  return pair.split('-') as [Engine, Engine];
}

/** Such as `zstd1 x2`. */
export function rowTitle({ name, channels }: Pick<Row, 'name' | 'channels'>): string {
  return channels === undefined ? name : `${name} x${channels}`;
}
