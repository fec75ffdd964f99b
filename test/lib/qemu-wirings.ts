import type { Wiring } from './qemu-moves.ts';

const COMPRESSIONS = ['none', 'zlib', 'zstd'] as const;
const CHANNELS = [1, 2, 4] as const;

/** Everything that can carry multifd both ways; exec cannot, and has no return path. */
const PLAIN: readonly Wiring[] = [
  { transport: 'tcp', returnPath: true },
  { transport: 'unix', returnPath: false },
  { transport: 'exec', returnPath: false },
];

/** QEMU to pageferry: plain, and multifd with each method and number of channels. */
export const CAPTURE_WIRINGS: readonly Wiring[] = [...PLAIN, ...multifdWirings([undefined])];

/** Pageferry to QEMU: the same with each backend whose output QEMU must take. */
export const PLAY_WIRINGS: readonly Wiring[] = [
  ...PLAIN,
  ...multifdWirings(['minizlib', 'pako', 'mongodb-zstd']),
];

type Backend = Wiring['backend'];

function multifdWirings(backends: readonly Backend[]): Wiring[] {
  const wirings: Omit<Wiring, 'transport' | 'returnPath'>[] = [];
  for (const compression of COMPRESSIONS) {
    for (const backend of compression === 'none' ? [undefined] : backends) {
      if (!canDo(backend, compression)) continue;
      for (const channels of CHANNELS) wirings.push({ compression, channels, backend });
    }
  }
  // Transports and return path rotate at different speeds, so that their combinations appear.
  return wirings.map((wiring, index) => ({
    ...wiring,
    transport: index % 2 === 0 ? 'tcp' : 'unix',
    returnPath: index % 4 < 2,
  }));
}

function canDo(backend: Backend, compression: (typeof COMPRESSIONS)[number]): boolean {
  if (backend === 'pako') return compression === 'zlib';
  if (backend === 'mongodb-zstd') return compression === 'zstd';
  return true;
}
