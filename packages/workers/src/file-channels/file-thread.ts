import { TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import type { PoolWords } from '../channels/pool-words.ts';
import type { PageRing } from './page-ring.ts';
import type { PageWriter } from './page-writer.ts';

/** How long the thread sleeps at most before it looks whether it was cancelled; it is woken for that as well. */
const IDLE_SLICE_MS = 1000;

export interface FileThreadParts {
  /** Of all threads. */
  readonly rings: readonly PageRing[];
  /** Which of them is this thread's. */
  readonly channel: number;
  readonly words: PoolWords;
  /** One Int32, 1 while a thread writes. */
  readonly turn: Int32Array;
  readonly writer: PageWriter;
  readonly detectZero: boolean;
}

/**
 * One of the threads that bring pages into a file.
 *
 * Linux lets one thread at a time write to a file, and the others burn their CPU waiting for it. So only one
 * writes here: each checks its own jobs for zero pages, and whoever finds nobody writing writes what all have
 * checked, while the others go on checking. Nobody waits for the turn: who has it looks again after giving it
 * back, so that a job checked meanwhile is not left behind.
 */
export class FileThread {
  readonly #parts: FileThreadParts;
  readonly #own: PageRing;

  constructor(parts: FileThreadParts) {
    this.#parts = parts;
    this.#own = parts.rings[parts.channel]!;
  }

  /** Returns when the thread was ended or cancelled. @throws MigrationError `file-failed` */
  run(): void {
    const { words, writer, detectZero } = this.#parts;
    const { workerBell } = this.#own.cells;
    while (!words.cancelled) {
      const seen = workerBell.count;
      const job = this.#own.unchecked();
      if (job?.isEnd) return;
      if (job !== undefined) {
        if (detectZero) writer.check(job);
        this.#own.setChecked();
      }
      const wrote = this.#writeChecked();
      if (job === undefined && !wrote) workerBell.wait(seen, IDLE_SLICE_MS);
    }
  }

  /** Writes everything that was checked, unless another thread does. Returns whether there was anything. */
  #writeChecked(): boolean {
    const { rings, turn } = this.#parts;
    let wrote = false;
    while (rings.some((ring) => ring.checked() !== undefined)) {
      if (Atomics.compareExchange(turn, 0, 0, 1) !== 0) return wrote;
      try {
        for (const ring of rings) this.#writeRing(ring);
        wrote = true;
      } finally {
        Atomics.store(turn, 0, 0);
      }
      if (this.#parts.words.cancelled) break;
    }
    return wrote;
  }

  #writeRing(ring: PageRing): void {
    const { words, writer } = this.#parts;
    const { cells } = ring;
    let { stalledMs } = cells.stats(0);
    for (let job = ring.checked(); job !== undefined && !words.cancelled; job = ring.checked()) {
      const startMs = performance.now();
      const writes = writer.write(job);
      stalledMs += performance.now() - startMs;
      cells.stalledMs = stalledMs;
      cells.count(job.count * TARGET_PAGE_BYTES, writes, job.count, job.zeroPages);
      // Frees the job's slot, and wakes the coordinator when it may be waiting for some.
      if (ring.shift()) words.coordinatorBell.ring();
      if (cells.complete()) words.coordinatorBell.ring();
    }
  }
}
