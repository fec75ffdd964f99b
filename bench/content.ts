import { closeSync, openSync, writeSync } from 'node:fs';
import { GuestMix } from '../packages/workers/src/measure/mix.ts';

const CHUNK_BYTES = 1 << 20;

/** The content of the benchmark's guest: the mix that `pageferry bench` generates too, in a file. */
export interface Content {
  path: string;
  sizeBytes: number;
  /** Bytes in pages that are not all zero: what a migration really has to carry. */
  nonZeroBytes: number;
}

/** Writes `sizeBytes` (a multiple of 4096) of guest content to `path`. */
export function generateContent(path: string, sizeBytes: number): Content {
  using mix = new GuestMix();
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const file = openSync(path, 'w', 0o600);
  let nonZeroBytes = 0;
  try {
    for (let written = 0; written < sizeBytes; ) {
      const part = chunk.subarray(0, Math.min(CHUNK_BYTES, sizeBytes - written));
      nonZeroBytes += mix.fill(part);
      written += writeSync(file, part);
    }
  } finally {
    closeSync(file);
  }
  return { path, sizeBytes, nonZeroBytes };
}
