import type { Progress } from '@pageferry/core/control';

/** What moved per second between two looks at a migration. */
export interface Throughput {
  /** Bytes per second over everything. */
  readonly total: number;
  /** Bytes per second of each channel, in the order of `progress.channels`. */
  readonly channels: readonly number[];
}

/** Long enough that a scheduler's hiccup does not show, short enough that a change does. */
const WINDOW_MS = 1000;

/** Turns the running totals of `Progress` into rates over about the last second. */
export class ThroughputMeter {
  readonly #samples: { atMs: number; total: number; channels: number[] }[] = [
    { atMs: 0, total: 0, channels: [] },
  ];

  next(progress: Progress): Throughput {
    const now = {
      atMs: progress.elapsedMs,
      total: progress.ram.transferred,
      channels: progress.channels.map((channel) => channel.bytes),
    };
    const samples = this.#samples;
    samples.push(now);
    while (samples.length > 2 && samples[1]!.atMs <= now.atMs - WINDOW_MS) samples.shift();
    const before = samples[0]!;
    const seconds = (now.atMs - before.atMs) / 1000;
    const rate = (bytes: number) => (seconds > 0 ? Math.max(0, bytes) / seconds : 0);
    return {
      total: rate(now.total - before.total),
      channels: now.channels.map((bytes, i) => rate(bytes - (before.channels[i] ?? 0))),
    };
  }
}
