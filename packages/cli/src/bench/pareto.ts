import type { Measurement } from '@pageferry/workers/measure';

/** Whether no other with as many threads and the same packet size is at least as fast and as small, and better in one. */
export function isPareto(one: Measurement, all: readonly Measurement[]): boolean {
  return !all.some(
    (other) =>
      other.threads === one.threads &&
      other.packetPages === one.packetPages &&
      other.compressBytesPerSecond >= one.compressBytesPerSecond &&
      other.ratio >= one.ratio &&
      (other.compressBytesPerSecond > one.compressBytesPerSecond || other.ratio > one.ratio),
  );
}
