import { type ErrorCode, MigrationError } from '../error.ts';
import { type ByteQueue, need } from './byte-queue.ts';

/*
 * Counted string (cstr8), used for every name on the wire:
 *   u8   length, 1 to 255
 *   ...  that many bytes, UTF-8, without NUL
 */

const encoder = new TextEncoder();
// ignoreBOM keeps a leading U+FEFF, so that encoding gives the same bytes again.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8 bytes of a string. */
export function encodeText(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/**
 * The string of `bytes`, or undefined when they are not UTF-8 or hold control characters: a name from the
 * wire is shown to people, and must encode to the same bytes again.
 */
export function decodeText(bytes: Uint8Array): string | undefined {
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    if (byte < 0x20 || byte === 0x7f) return undefined;
  }
  try {
    // A copy: browsers decode no views of shared memory.
    return decoder.decode(bytes.slice());
  } catch {
    return undefined;
  }
}

/** Bytes as `0x…`, at most `limit` of them, for error messages. */
export function hexOf(bytes: Uint8Array, limit = 16): string {
  let text = '0x';
  for (const byte of bytes.subarray(0, limit)) text += byte.toString(16).padStart(2, '0');
  return bytes.length > limit ? `${text}…` : text;
}

/** A number as `0x…`, for error messages. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** A name as it is on the wire: its length, then its bytes. */
export type EncodedBlockName = Uint8Array;

/** @throws MigrationError `bad-option` when the name has not 1 to 255 bytes. */
export function encodeCountedString(name: string): Uint8Array<ArrayBuffer> {
  const text = encodeText(name);
  if (text.length === 0 || text.length > 255) {
    throw new MigrationError('bad-option', `a name has 1 to 255 bytes: ${JSON.stringify(name)}`);
  }
  const bytes = new Uint8Array(1 + text.length);
  bytes[0] = text.length;
  bytes.set(text, 1);
  return bytes;
}

/** Reads a counted string; `what` names it in errors, whose code is `code`. */
export function* decodeCountedString(
  queue: ByteQueue,
  what: string,
  code: ErrorCode = 'bad-section',
): Generator<undefined, string> {
  yield* need(queue, 1, what);
  const length = queue.peekU8();
  if (length === 0) throw queue.error(code, `${what} is empty`);
  yield* need(queue, 1 + length, what);
  const bytes = queue.peek(1 + length).subarray(1);
  const text = decodeText(bytes);
  if (text === undefined) {
    throw queue.error(code, `${what} is not plain text`, { found: hexOf(bytes) });
  }
  queue.skip(1 + length);
  return text;
}
