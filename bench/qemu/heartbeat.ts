import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/** A number in the guest's RAM that the guest itself raises all the time. */
export type HeartbeatPlace =
  /** A word in the memory of a QEMU. */
  | { readonly kind: 'process'; readonly pid: number; readonly address: number }
  /** The sum of words in shared memory of this process: the ledger of a built-in machine counts its writes. */
  | {
      readonly kind: 'words';
      readonly buffer: SharedArrayBuffer;
      readonly byteOffset: number;
      readonly words: number;
    };

/** When the heartbeat was first seen to have a value. */
export interface Beat {
  /** Of the machine's monotonic clock, which is the same in all processes. */
  readonly atMs: number;
  readonly value: number;
}

/** Watches a heartbeat from a thread of its own, half a millisecond apart. */
export class HeartbeatWatch {
  readonly #worker: Worker;
  readonly #stop = new SharedArrayBuffer(4);

  private constructor() {
    this.#worker = new Worker(new URL('./heartbeat-worker.ts', import.meta.url), {
      workerData: this.#stop,
      execArgv: [],
    });
  }

  /** Starts the thread, which then waits for `watch`. */
  static async start(): Promise<HeartbeatWatch> {
    const watch = new HeartbeatWatch();
    await once(watch.#worker, 'message');
    return watch;
  }

  /** To be called once. */
  watch(place: HeartbeatPlace): void {
    this.#worker.postMessage(place);
  }

  /** What was seen since `watch`. */
  async end(): Promise<Beat[]> {
    const word = new Int32Array(this.#stop);
    Atomics.store(word, 0, 1);
    Atomics.notify(word, 0);
    const [beats] = await once(this.#worker, 'message');
    return beats as Beat[];
  }
}

export interface HeartbeatGaps {
  /** The longest time between two beats, wherever the guest ran, the switch-over included. */
  readonly longestGapMs: number;
  /** From the last beat at the source to the first one at the destination. */
  readonly switchGapMs: number;
  /** The part of it after the destination had the page of the heartbeat as the source left it, if that was seen. */
  readonly afterLastPageMs?: number;
  /** The median time between two beats at the source before the migration: whether the guest kept its pace. */
  readonly usualGapMs: number;
}

/**
 * @param startMs when the migration began, of the same clock
 * @throws when the guest does not run at the destination
 */
export function heartbeatGaps(
  source: readonly Beat[],
  destination: readonly Beat[],
  startMs: number,
): HeartbeatGaps {
  const last = source.at(-1);
  const first = destination.find(({ value }) => last !== undefined && value > last.value);
  if (last === undefined || first === undefined)
    throw new Error('the guest has no heartbeat at the destination');
  const arrived = destination.find(({ value }) => value === last.value);
  const run = [
    ...source.filter(({ atMs }) => atMs >= startMs),
    ...destination.slice(destination.indexOf(first)),
  ];
  const usual = gaps(source.filter(({ atMs }) => atMs < startMs)).sort((a, b) => a - b);
  return {
    longestGapMs: Math.max(...gaps(run)),
    switchGapMs: first.atMs - last.atMs,
    afterLastPageMs: arrived && first.atMs - arrived.atMs,
    usualGapMs: usual[usual.length >> 1] ?? Number.NaN,
  };
}

function gaps(beats: readonly Beat[]): number[] {
  return beats.slice(1).map(({ atMs }, index) => atMs - beats[index]!.atMs);
}
