import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';

/** What a channel's thread is given to load before there is a connection. */
export interface WarmTask {
  readonly compression: MultifdCompression;
  readonly level: number | undefined;
  readonly backend: CodecBackend | undefined;
  /** One Int32: threads that have come here. */
  readonly barrier: SharedArrayBuffer;
  readonly threads: number;
}

/** Longer than any thread takes to start. */
const BARRIER_LIMIT_MS = 5000;

/** Waits until every thread has one of these tasks: a quick one must not take a second. */
export function meetOthers({ barrier, threads }: WarmTask): void {
  const arrived = new Int32Array(barrier);
  Atomics.add(arrived, 0, 1);
  Atomics.notify(arrived, 0);
  const deadlineMs = performance.now() + BARRIER_LIMIT_MS;
  for (;;) {
    const seen = Atomics.load(arrived, 0);
    const leftMs = deadlineMs - performance.now();
    if (seen >= threads || leftMs <= 0) return;
    Atomics.wait(arrived, 0, seen, leftMs);
  }
}
