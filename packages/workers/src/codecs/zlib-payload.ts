import { badPayload, type PayloadPlace } from './codec.ts';

/**
 * A zlib payload ends with a sync or full flush: an empty stored block, whose length and its complement are
 * `00 00 ff ff`. A payload that ends otherwise is cut, or finishes the stream: QEMU refuses both, and a
 * finished stream would otherwise show itself only in the packet after it.
 *
 * @throws MigrationError `bad-compressed-data`
 */
export function checkFlushMarker(payload: Uint8Array, place: PayloadPlace): void {
  const at = payload.length - 4;
  if (at >= 0 && payload[at] === 0 && payload[at + 1] === 0) {
    if (payload[at + 2] === 0xff && payload[at + 3] === 0xff) return;
  }
  const last = [...payload.subarray(Math.max(0, at))].map((byte) => byte.toString(16).padStart(2, '0'));
  throw badPayload('the zlib payload does not end with a flush', place, {
    found: last.join(' ') || 'nothing',
    expected: '00 00 ff ff',
  });
}
