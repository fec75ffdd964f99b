import { MigrationError } from '@pageferry/core';
import { badPayload, type PayloadPlace } from '../codec.ts';

/*
 * A payload that is as long as its pages is these pages. Any other (docs/protocol-extensions.md):
 *
 *   0  u8   bits 0 to 6: the codec. Bit 7: a zero byte follows the body
 *   1  ...  body: lz4: as an lz4 payload. zstd: what this stream continues with, up to a flush or a frame's end
 */

/** Byte 0 of a payload. */
export const PayloadCodec = {
  lz4: 1,
  /** The first of the zstd streams. */
  zstd: 2,
} as const;

/** Each with its own history, and a level of the sender's choice. */
export const ZSTD_STREAMS = 4;

const HEAD_BYTES = 1;
const PADDED = 0x80;

/** Where the body of a payload goes. */
export function bodyOf(target: Uint8Array): Uint8Array {
  return target.subarray(HEAD_BYTES);
}

/**
 * Completes the payload whose body stands in `bodyOf(target)`.
 *
 * @throws MigrationError `internal` when it does not fit
 */
export function framePayload(
  codec: number,
  bodyBytes: number,
  pageBytes: number,
  target: Uint8Array,
): Uint8Array {
  // As long as the pages it would be taken for them.
  const isPadded = HEAD_BYTES + bodyBytes === pageBytes;
  const length = HEAD_BYTES + bodyBytes + (isPadded ? 1 : 0);
  if (length > target.length) {
    throw new MigrationError('internal', 'a compressed payload is above its limit', {
      found: `${length} bytes`,
      expected: `at most ${target.length}`,
    });
  }
  target[0] = isPadded ? codec | PADDED : codec;
  if (isPadded) target[length - 1] = 0;
  return target.subarray(0, length);
}

/**
 * The codec and the body of a payload that is not its pages.
 *
 * @throws MigrationError `bad-compressed-data`
 */
export function openPayload(payload: Uint8Array, place: PayloadPlace): { codec: number; body: Uint8Array } {
  const head = payload[0] ?? 0;
  const codec = head & ~PADDED;
  const isPadded = head !== codec;
  const end = isPadded ? payload.length - 1 : payload.length;
  if (end <= HEAD_BYTES) {
    throw badPayload('the adaptive payload is too short', place, { found: `${payload.length} bytes` });
  }
  if (codec < PayloadCodec.lz4 || codec >= PayloadCodec.zstd + ZSTD_STREAMS) {
    throw badPayload('the adaptive payload names a codec that is not known', place, {
      found: `${codec}`,
      expected: `${PayloadCodec.lz4} to ${PayloadCodec.zstd + ZSTD_STREAMS - 1}`,
    });
  }
  if (isPadded && payload[end] !== 0) {
    throw badPayload('the last byte of the adaptive payload is not zero', place, {
      found: `${payload[end]}`,
    });
  }
  return { codec, body: payload.subarray(HEAD_BYTES, end) };
}
