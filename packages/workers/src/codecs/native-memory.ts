import { MigrationError } from '@pageferry/core';

/**
 * A native library's result is a Buffer over memory of the library's own, half a MiB at a time. The collector
 * sees only the small object before it: a channel would gather hundreds of MiB before it is asked to collect.
 * Detaching the memory frees it at once.
 */
export function freeNativeMemory(bytes: Uint8Array): void {
  const { buffer } = bytes;
  // Never a part of something larger, such as Node's pool for small Buffers.
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength !== bytes.byteLength) return;
  buffer.transfer(0);
}

/** Copies a native library's result to `target`, frees it, and returns its place there. */
export function takeOut(bytes: Uint8Array, target: Uint8Array): Uint8Array {
  if (bytes.length > target.length) {
    throw new MigrationError('internal', 'a compressed payload is above its limit', {
      found: `${bytes.length} bytes`,
      expected: `at most ${target.length}`,
    });
  }
  target.set(bytes);
  const { length } = bytes;
  freeNativeMemory(bytes);
  return target.subarray(0, length);
}
