import { MigrationError } from '@pageferry/core';
import type { LibZstd } from '../system/libzstd.ts';
import { AdaptiveController, type CodecPrior, RAW } from './adaptive-controller.ts';
import { RegionDepths } from './adaptive-regions.ts';
import type { ChannelLink, LinkProgress } from './channel-link.ts';
import { badPayload, type PageCompressor, type PageDecompressor, type PayloadPlace } from './codec.ts';
import { createFrameCompressor, createFrameDecompressor } from './libzstd.ts';
import { createLz4Compressor, createLz4Decompressor } from './lz4.ts';
import { createZstdCompressor, createZstdDecompressor } from './minizlib.ts';

/**
 * A codec for each packet (docs/protocol-extensions.md). A payload that is as long as its pages is these pages.
 * Any other starts with a byte:
 *
 *   0  u8   bits 0 to 6: the codec: 1 lz4; 2 to 5 zstd, streams 0 to 3. Bit 7: a zero byte follows the rest
 *   1  ...  lz4: as in an lz4 payload. zstd: the stream, up to a flush
 */
const LZ4 = 1;
const FIRST_ZSTD = 2;
const ZSTD_STREAMS = 4;
const PADDED = 0x80;

const PACKET_BYTES = 512 * 1024;

/**
 * What a packet can be made of, in the order of cost. Times are ms per packet of 512 KiB, and with the part that
 * is left from the table in docs/codecs.md; only their relations matter, and they are corrected while it runs.
 *
 * The cheap levels of zstd are for a thread that is short of time: a frame for each packet takes an eighth less
 * of it. The hard ones are for a link that is slow: one stream over all its packets leaves 5 % less.
 */
const CODECS = [
  { code: 0, level: 0, isFrame: false, packetMs: 0, wire: 1 },
  { code: LZ4, level: 0, isFrame: false, packetMs: 1.45, wire: 0.615 },
  { code: FIRST_ZSTD, level: 1, isFrame: true, packetMs: 1.24, wire: 0.5 },
  { code: FIRST_ZSTD + 1, level: 3, isFrame: true, packetMs: 2.1, wire: 0.448 },
  { code: FIRST_ZSTD + 2, level: 5, isFrame: false, packetMs: 4.4, wire: 0.421 },
  { code: FIRST_ZSTD + 3, level: 9, isFrame: false, packetMs: 11.4, wire: 0.406 },
] as const;
const PRIORS: readonly CodecPrior[] = CODECS.map(({ packetMs, wire }) => ({
  msPerByte: packetMs / PACKET_BYTES,
  depth: -Math.log(wire),
}));

/** Pages that are left as they are because they did not compress: every so many packets one is tried anyway. */
const PROBE_PACKETS = 32;
/** Below this, pages count as incompressible. */
const FLAT_DEPTH = 0.03;
const SAMPLE_BYTES = 1024;

/**
 * @param library zstd by address; undefined where it cannot be had
 * @param now a clock in ms, for tests
 */
export function createAdaptiveCompressor(library?: LibZstd, now?: () => number): AdaptiveCompressor {
  return new AdaptiveCompressor(library, now);
}

/** @param library zstd by address; undefined where it cannot be had */
export function createAdaptiveDecompressor(library?: LibZstd): PageDecompressor {
  return new AdaptiveDecompressor(library);
}

class AdaptiveCompressor implements PageCompressor {
  readonly concurrency = 1;
  readonly #library: LibZstd | undefined;
  #link: ChannelLink | undefined;
  #sentBytes = 0;
  readonly #progress: LinkProgress = { busyMs: 0, arrivedBytes: 0 };
  #busyMs = 0;
  #arrivedBytes = 0;
  readonly #now: () => number;
  #controller: AdaptiveController;
  readonly #regions: RegionDepths;
  readonly #compressors: (PageCompressor | undefined)[] = CODECS.map(() => undefined);
  #block = 0;
  #page = 0;
  /** What the pages there are believed to be. */
  #depth: number;
  #codec = RAW;
  #usual = RAW;
  #isChosen = false;
  #sinceProbe = 0;

  constructor(library: LibZstd | undefined, now: () => number = () => performance.now()) {
    this.#library = library;
    this.#now = now;
    this.#controller = new AdaptiveController(PRIORS, { now });
    this.#depth = this.#controller.typicalDepth;
    this.#regions = new RegionDepths(this.#depth);
  }

  attach(link: ChannelLink): void {
    this.#link = link;
    this.#controller = new AdaptiveController(PRIORS, {
      limitBytesPerMs: link.limitBytesPerMs,
      channels: link.channels,
      now: this.#now,
    });
    this.#isChosen = false;
  }

  locate(blockIndex: number, firstPage: number): void {
    this.#block = blockIndex;
    this.#page = firstPage;
    this.#isChosen = true;
    this.#depth = this.#regions.expect(blockIndex, firstPage);
    this.#codec = this.#controller.choose(this.#depth);
    this.#usual = RAW;
    // What the pages would get if they were not believed to be incompressible.
    if (this.#codec === RAW && this.#depth < FLAT_DEPTH) {
      this.#usual = this.#controller.choose(this.#controller.typicalDepth);
    }
  }

  /** Whether the pages that were located travel as they are: they need not be copied then, and not be given here. */
  sendsRaw(pageBytes: number): boolean {
    this.#choose();
    if (this.#codec !== RAW || this.#usual !== RAW) return false;
    this.#isChosen = false;
    this.#regions.forget(this.#controller.typicalDepth);
    this.#controller.begin(pageBytes);
    return true;
  }

  compress(pages: Uint8Array, target: Uint8Array): Uint8Array {
    this.#choose();
    this.#isChosen = false;
    this.#controller.begin(pages.length);
    const codec = this.#codec === RAW ? this.#probed(pages) : this.#codec;
    if (codec === RAW) {
      this.#regions.forget(this.#controller.typicalDepth);
      return pages;
    }
    const startMs = this.#now();
    const body = this.#compressor(codec).compress(pages, target.subarray(1)) as Uint8Array;
    const ms = this.#now() - startMs;
    this.#controller.compressed(codec, pages.length, body.length, ms, this.#depth);
    const depth = this.#controller.depthOf(codec, pages.length, body.length);
    this.#regions.learn(this.#block, this.#page, depth);
    const { code } = CODECS[codec]!;
    // lz4 keeps nothing of a packet, so its result may be thrown away; a zstd stream must be complete.
    if (code === LZ4 && body.length >= pages.length) return pages;
    return frame(code, body.length, pages.length, target);
  }

  observe(waitedForJobMs: number, writeMs: number, payloadBytes: number): void {
    this.#watchLink(writeMs, payloadBytes);
    const sentBytes = this.#link?.sentBytes();
    const sent = sentBytes === undefined ? undefined : sentBytes - this.#sentBytes;
    this.#sentBytes = sentBytes ?? 0;
    this.#controller.observe(waitedForJobMs, writeMs, payloadBytes, sent);
  }

  close(): void {
    for (const compressor of this.#compressors) compressor?.close();
    this.#compressors.fill(undefined);
  }

  /** A packet whose place nobody told is taken to follow the one before. */
  #choose(): void {
    if (!this.#isChosen) this.locate(this.#block, this.#page);
  }

  /** Where the kernel does not tell, the link is as busy as the channel with writing. */
  #watchLink(writeMs: number, payloadBytes: number): void {
    const progress = this.#progress;
    if (this.#link?.progress?.(progress) !== true) {
      this.#controller.link(writeMs, payloadBytes);
      return;
    }
    this.#controller.link(progress.busyMs - this.#busyMs, progress.arrivedBytes - this.#arrivedBytes);
    this.#busyMs = progress.busyMs;
    this.#arrivedBytes = progress.arrivedBytes;
  }

  /** Incompressible regions are left alone until their bytes look otherwise, or for a while. */
  #probed(pages: Uint8Array): number {
    if (this.#usual === RAW) return RAW;
    this.#sinceProbe++;
    if (this.#sinceProbe < PROBE_PACKETS && looksRandom(pages)) return RAW;
    this.#sinceProbe = 0;
    return this.#usual;
  }

  #compressor(codec: number): PageCompressor {
    let compressor = this.#compressors[codec];
    if (compressor === undefined) {
      compressor = this.#create(codec);
      this.#compressors[codec] = compressor;
    }
    return compressor;
  }

  #create(codec: number): PageCompressor {
    const { code, level, isFrame } = CODECS[codec]!;
    if (code === LZ4) return createLz4Compressor();
    if (isFrame && this.#library !== undefined) return createFrameCompressor(this.#library, level);
    return createZstdCompressor(level);
  }
}

class AdaptiveDecompressor implements PageDecompressor {
  /** A payload as long as its pages may go straight to where they belong. */
  readonly takesRaw = true;
  readonly #library: LibZstd | undefined;
  #lz4: PageDecompressor | undefined;
  readonly #streams: (PageDecompressor | undefined)[] = new Array(ZSTD_STREAMS).fill(undefined);

  constructor(library: LibZstd | undefined) {
    this.#library = library;
  }

  decompress(payload: Uint8Array, expectedBytes: number, place: PayloadPlace): Uint8Array {
    if (payload.length === expectedBytes) return payload;
    if (payload.length < 2) {
      throw badPayload('the adaptive payload is too short', place, { found: `${payload.length} bytes` });
    }
    const head = payload[0]!;
    const padded = (head & PADDED) !== 0;
    const end = padded ? payload.length - 1 : payload.length;
    if (padded && payload[end] !== 0) {
      throw badPayload('the padding of the adaptive payload is not zero', place, {
        found: `${payload[end]}`,
      });
    }
    return this.#decompressor(head & ~PADDED, place).decompress(
      payload.subarray(1, end),
      expectedBytes,
      place,
    );
  }

  close(): void {
    this.#lz4?.close();
    for (const stream of this.#streams) stream?.close();
    this.#streams.fill(undefined);
  }

  #decompressor(code: number, place: PayloadPlace): PageDecompressor {
    if (code === LZ4) {
      this.#lz4 ??= createLz4Decompressor();
      return this.#lz4;
    }
    const stream = code - FIRST_ZSTD;
    if (stream < 0 || stream >= ZSTD_STREAMS) {
      throw badPayload('the adaptive payload names no codec that is known', place, {
        found: `${code}`,
        expected: `${LZ4} to ${FIRST_ZSTD + ZSTD_STREAMS - 1}`,
      });
    }
    this.#streams[stream] ??=
      this.#library === undefined ? createZstdDecompressor() : createFrameDecompressor(this.#library);
    return this.#streams[stream];
  }
}

/** Puts the codec's byte before the body that stands at 1 in `target`, and a byte behind it where it must. */
function frame(code: number, bodyBytes: number, pageBytes: number, target: Uint8Array): Uint8Array {
  // As long as the pages it would be taken for them.
  const padded = 1 + bodyBytes === pageBytes;
  const length = 1 + bodyBytes + (padded ? 1 : 0);
  if (length > target.length) {
    throw new MigrationError('internal', 'a compressed payload is above its limit', {
      found: `${length} bytes`,
      expected: `at most ${target.length}`,
    });
  }
  target[0] = padded ? code | PADDED : code;
  if (padded) target[length - 1] = 0;
  return target.subarray(0, length);
}

const counts = new Uint16Array(256);

/**
 * Whether a sample of the bytes is spread as evenly as random ones, as those of compressed or encrypted data
 * are: a few microseconds, a hundredth of what trying costs.
 */
function looksRandom(pages: Uint8Array): boolean {
  counts.fill(0);
  const step = Math.max(1, Math.floor(pages.length / SAMPLE_BYTES));
  // An odd stride meets every byte of a word.
  const stride = step % 2 === 0 ? step + 1 : step;
  let taken = 0;
  for (let at = 0; at < pages.length; at += stride) {
    counts[pages[at]!]!++;
    taken++;
  }
  let squares = 0;
  for (let value = 0; value < 256; value++) squares += counts[value]! ** 2;
  return squares < 1.2 * taken * (1 + taken / 256);
}
