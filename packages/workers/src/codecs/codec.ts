import { MigrationError } from '@pageferry/core';
import type { ChannelLink } from './channel-link.ts';

/** Where a payload was read, for error messages. */
export interface PayloadPlace {
  readonly channel: string;
  /** Byte offset of the packet in that channel. */
  readonly offset: number;
}

/** Most bytes that the pages of one packet have: 128 pages of 4 KiB. */
export const PACKET_PAGES_BYTES = 128 * 4096;

/** One channel's compressor. Its state spans the packets of the channel, so it serves one channel only. */
export interface PageCompressor {
  /** How many packets may be in work at once; 1 when `compress` answers at once. */
  readonly concurrency: number;
  /** `compress` reads shared memory as it reads any other; asked for each packet, after `locate` and `sendsRaw`. */
  readonly takesGuestRam?: boolean;
  /**
   * Compresses the pages of one packet to its payload.
   *
   * @param pages a copy of the pages: neither the guest nor the caller may change it until the payload is there;
   *   or, with `takesGuestRam`, pages of a guest that stands still
   * @param target room of the payload limit (1 MiB), the backend's until the payload is there
   * @returns the payload: a part of `target`, or `pages` where they travel as they are
   * @throws MigrationError `internal` when the backend fails
   */
  compress(pages: Uint8Array, target: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /** Where the pages of the next packet lie; for compressors that remember regions. */
  locate?(blockIndex: number, firstPage: number): void;
  /** What the channel did since the last packet: waited for a job, waited for the socket to take the payload (ms). */
  observe?(waitedForJobMs: number, writeMs: number, payloadBytes: number): void;
  /** What is known of the channel's link; called once, before the first packet. */
  attach?(link: ChannelLink): void;
  /**
   * Asked after `locate`: whether the next packet's pages travel as they are. Then they need not be copied, and
   * `compress` is not called: a payload as long as its pages is these pages (`takesRaw`).
   */
  sendsRaw?(pageBytes: number): boolean;
  /** In a thread that is made ready: runs what is not the codec's library until it is compiled. */
  warmUp?(link: ChannelLink): void;
  /** Frees native memory. */
  close(): void;
}

/** One channel's decompressor. */
export interface PageDecompressor {
  /** A payload as long as its pages is these pages: it may be read to where they belong. */
  readonly takesRaw?: boolean;
  /**
   * Decompresses a payload to exactly `expectedBytes`. Allocates nothing that grows with the payload's claims.
   *
   * @param expectedBytes at most PACKET_PAGES_BYTES
   * @returns the pages, valid until the next call
   * @throws MigrationError `bad-compressed-data` for anything else than exactly that many bytes
   */
  decompress(payload: Uint8Array, expectedBytes: number, place: PayloadPlace): Uint8Array;
  /**
   * Decompresses a payload to where its pages belong, guest RAM.
   *
   * @param target exactly as long as the pages
   * @returns false, having done nothing, for a payload that only `decompress` takes
   * @throws MigrationError as `decompress`; the target then holds anything
   */
  decompressTo?(payload: Uint8Array, target: Uint8Array, place: PayloadPlace): boolean;
  /** Frees native memory. */
  close(): void;
}

/** The error of a payload that is not exactly its pages. */
export function badPayload(
  what: string,
  place: PayloadPlace,
  details: { found?: string; expected?: string; cause?: unknown } = {},
): MigrationError {
  return new MigrationError('bad-compressed-data', what, { ...place, ...details });
}

/** @throws MigrationError `bad-compressed-data` unless `found` is `expected` */
export function checkLength(found: number, expected: number, place: PayloadPlace): void {
  if (found === expected) return;
  const more = found > expected;
  throw badPayload(more ? 'the payload holds more than its pages' : 'the payload ends too early', place, {
    found: more ? `more than ${expected} bytes` : `${found} bytes`,
    expected: `${expected} bytes`,
  });
}
