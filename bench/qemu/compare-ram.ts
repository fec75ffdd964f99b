import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

const CHUNK_BYTES = 4 << 20;

/**
 * Compares a guest's RAM with a raw image of it.
 *
 * @param chunkAt the RAM's bytes from an offset on, as many
 * @returns the first byte that differs, or -1
 */
export function firstDifference(rawPath: string, chunkAt: (at: number, bytes: number) => Uint8Array): number {
  const file = openSync(rawPath, 'r');
  try {
    const { size } = fstatSync(file);
    const expected = Buffer.alloc(CHUNK_BYTES);
    for (let at = 0; at < size; at += CHUNK_BYTES) {
      const bytes = Math.min(CHUNK_BYTES, size - at);
      readSync(file, expected, 0, bytes, at);
      const found = chunkAt(at, bytes);
      if (Buffer.compare(expected.subarray(0, bytes), found) === 0) continue;
      return at + found.findIndex((byte, index) => byte !== expected[index]);
    }
    return -1;
  } finally {
    closeSync(file);
  }
}
