import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { listenLocally } from './libc.ts';
import { type Spread, spreadOf } from './statistics.ts';

/** What the machine itself can do, MiB/s: no migration is faster. */
export interface MachineLimits {
  /** Memory to memory, by one thread and by two. */
  readonly memoryCopy: { readonly one: Spread; readonly two: Spread };
  /** Blocking `send` and `recv` of 1 MiB at a time over loopback, a thread at each end of each socket. */
  readonly loopback: { readonly one: Spread; readonly two: Spread };
}

export type LimitJob =
  | { readonly kind: 'copy' }
  | { readonly kind: 'receive'; readonly listener: number }
  | { readonly kind: 'send'; readonly port: number };

/** When a thread was at work; of the machine's monotonic clock. */
export interface LimitTimes {
  readonly startMs: number;
  readonly endMs: number;
}

/** Memory of each thread: too much for any cache, as guest RAM is. */
export const LIMIT_BYTES = 256 * 2 ** 20;
/** How often a thread goes over it. */
export const LIMIT_ROUNDS = 4;
const REPETITIONS = 3;

export async function measureLimits(): Promise<MachineLimits> {
  const measured = { copy: [[], []], loopback: [[], []] } as Record<
    'copy' | 'loopback',
    [number[], number[]]
  >;
  for (let repetition = 0; repetition < REPETITIONS; repetition++) {
    for (const width of [1, 2] as const) {
      measured.copy[width - 1]!.push(
        await rateOf(
          Array.from({ length: width }, () => ({ kind: 'copy' })),
          width,
        ),
      );
      measured.loopback[width - 1]!.push(await loopbackRate(width));
    }
  }
  const spreads = ([one, two]: [number[], number[]]) => ({ one: spreadOf(one), two: spreadOf(two) });
  return { memoryCopy: spreads(measured.copy), loopback: spreads(measured.loopback) };
}

async function loopbackRate(sockets: number): Promise<number> {
  const { fd, port } = listenLocally(sockets);
  const ends: LimitJob[] = [
    { kind: 'receive', listener: fd },
    { kind: 'send', port },
  ];
  const rate = await rateOf(Array.from({ length: sockets }, () => ends).flat(), sockets);
  closeSync(fd);
  return rate;
}

/** MiB/s of the jobs together, from the first one's start to the last one's end. */
async function rateOf(jobs: readonly LimitJob[], width: number): Promise<number> {
  const workers = jobs.map(
    (workerData) => new Worker(new URL('./limits-worker.ts', import.meta.url), { workerData, execArgv: [] }),
  );
  try {
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const times = workers.map((worker) => once(worker, 'message') as Promise<[LimitTimes]>);
    for (const worker of workers) worker.postMessage('go');
    const all = (await Promise.all(times)).map(([time]) => time);
    const ms = Math.max(...all.map(({ endMs }) => endMs)) - Math.min(...all.map(({ startMs }) => startMs));
    return (width * LIMIT_ROUNDS * LIMIT_BYTES) / 2 ** 20 / (ms / 1000);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}
