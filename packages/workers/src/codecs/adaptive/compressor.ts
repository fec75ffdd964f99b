import type { LibZstd } from '../../system/libzstd.ts';
import type { ChannelLink, LinkProgress } from '../channel-link.ts';
import type { PageCompressor } from '../codec.ts';
import { createFrameCompressor } from '../libzstd.ts';
import { createLz4Compressor } from '../lz4.ts';
import { createZstdCompressor } from '../minizlib.ts';
import { AdaptiveController } from './controller.ts';
import { type CodecPrior, RAW } from './estimates.ts';
import { bodyOf, framePayload, PayloadCodec } from './payload.ts';
import { looksRandom } from './random-bytes.ts';
import { RegionDepths } from './region-depths.ts';

const PACKET_BYTES = 512 * 1024;

/**
 * What a packet can be made of, in the order of cost. Times are ms per packet of 512 KiB, and with the part that
 * is left measured (docs/codecs.md); only their relations matter, and they are corrected while it runs.
 *
 * The cheap levels of zstd are for a thread that is short of time: a frame for each packet takes an eighth less
 * of it. The hard ones are for a link that is slow: one stream over all its packets leaves 5 % less.
 */
const CODECS = [
  { code: 0, level: 0, isFrame: false, packetMs: 0, wire: 1 },
  { code: PayloadCodec.lz4, level: 0, isFrame: false, packetMs: 1.06, wire: 0.616 },
  { code: PayloadCodec.zstd, level: 1, isFrame: true, packetMs: 1.24, wire: 0.5 },
  { code: PayloadCodec.zstd + 1, level: 3, isFrame: true, packetMs: 2.1, wire: 0.448 },
  { code: PayloadCodec.zstd + 2, level: 5, isFrame: false, packetMs: 4.4, wire: 0.421 },
  { code: PayloadCodec.zstd + 3, level: 9, isFrame: false, packetMs: 11.4, wire: 0.406 },
] as const;
/** What `warmUp` is about: a link that takes a mixture, and packets until V8 has compiled what they run through. */
const WARM_LIMIT_BYTES_PER_MS = 150_000;
const WARM_PACKETS = 500;
const PRIORS: readonly CodecPrior[] = CODECS.map(({ packetMs, wire }) => ({
  msPerByte: packetMs / PACKET_BYTES,
  depth: -Math.log(wire),
}));

/** Pages that are left as they are because they did not compress: every so many packets one is tried anyway. */
const PROBE_PACKETS = 32;
/** Below this, pages count as incompressible. */
const FLAT_DEPTH = 0.03;
/** The controller is told of packets that took at least this long together: to a fast link less than each counts. */
const LEAST_OBSERVED_MS = 2;
/** How often the link is looked at while a limit holds the channel up: asking the kernel waits for the connection's lock. */
const LIMITED_LOOK_MS = 20;
/** A write that is slower than this, 250 MiB/s, was not only copying. */
const SLOW_WRITE_BYTES_PER_MS = 256 * 1024;

/**
 * @param library zstd by address; undefined where it cannot be had
 * @param now a clock in ms, for tests
 */
export function createAdaptiveCompressor(library?: LibZstd, now?: () => number): AdaptiveCompressor {
  return new AdaptiveCompressor(library, now);
}

/** A codec for each packet: `locate`, then `sendsRaw` or `compress`, then `observe`. */
export class AdaptiveCompressor implements PageCompressor {
  readonly concurrency = 1;
  readonly #library: LibZstd | undefined;
  readonly #now: () => number;
  #controller: AdaptiveController;
  readonly #regions: RegionDepths;
  readonly #compressors: (PageCompressor | undefined)[] = CODECS.map(() => undefined);
  #link: ChannelLink | undefined;
  readonly #progress: LinkProgress = { busyMs: 0, arrivedBytes: 0 };
  #busyMs = 0;
  #arrivedBytes = 0;
  #sentBytes = 0;
  // Since the controller was told last.
  #observedMs: number;
  #lookedMs: number;
  #waitedMs = 0;
  #writeMs = 0;
  #payloadBytes = 0;
  // The next packet: where its pages lie, what they are believed to be, and what is to become of them.
  #block = 0;
  #page = 0;
  #depth: number;
  #codec = RAW;
  /** They may be incompressible, as those before them or those that were there once. */
  #isSuspect = false;
  /** What was compressed last was not worth it. */
  #wasFlat = false;
  #isChosen = false;
  #sinceProbe = 0;

  constructor(library: LibZstd | undefined, now: () => number = () => performance.now()) {
    this.#library = library;
    this.#now = now;
    this.#observedMs = now();
    this.#lookedMs = this.#observedMs;
    this.#controller = new AdaptiveController(PRIORS, { now });
    this.#depth = this.#controller.typicalDepth;
    this.#regions = new RegionDepths(this.#depth);
  }

  /** Of the packet that was located, which decides the codec: those by address do. */
  get takesGuestRam(): boolean {
    return this.#library !== undefined && CODECS[this.#codec]!.isFrame;
  }

  attach(link: ChannelLink): void {
    this.#link = link;
    this.#sentBytes = link.sentBytes();
    this.#controller = controllerOf(link, this.#now);
    this.#isChosen = false;
  }

  warmUp(link: ChannelLink): void {
    let nowMs = 0;
    const controller = controllerOf({ ...link, limitBytesPerMs: WARM_LIMIT_BYTES_PER_MS }, () => nowMs);
    for (let i = 0; i < WARM_PACKETS; i++) {
      const { depth } = PRIORS[1 + (i % (PRIORS.length - 1))]!;
      const codec = controller.choose(1 + depth);
      controller.begin(codec, 1 + depth, PACKET_BYTES);
      const { packetMs, wire } = CODECS[codec]!;
      const wireBytes = PACKET_BYTES * wire;
      if (codec !== RAW) controller.compressed(codec, PACKET_BYTES, wireBytes, packetMs);
      nowMs += packetMs + 1;
      controller.link(wireBytes / WARM_LIMIT_BYTES_PER_MS, wireBytes);
      controller.observe(i % 2, 0.3, wireBytes, wireBytes);
    }
  }

  locate(blockIndex: number, firstPage: number): void {
    this.#block = blockIndex;
    this.#page = firstPage;
    this.#isChosen = true;
    this.#depth = this.#regions.expect(blockIndex, firstPage);
    this.#isSuspect = this.#wasFlat || this.#depth < FLAT_DEPTH;
    this.#codec = this.#controller.choose(this.#isSuspect ? this.#controller.typicalDepth : this.#depth);
  }

  /** Whether the pages that were located travel as they are: they need not be copied then, and not be given here. */
  sendsRaw(pageBytes: number): boolean {
    this.#choose();
    if (this.#codec !== RAW) return false;
    this.#isChosen = false;
    this.#controller.begin(RAW, this.#depth, pageBytes);
    this.#regions.forget(this.#controller.typicalDepth);
    return true;
  }

  compress(pages: Uint8Array, target: Uint8Array): Uint8Array {
    if (this.sendsRaw(pages.length)) return pages;
    this.#isChosen = false;
    const controller = this.#controller;
    if (this.#isSuspect && this.#isLeftAlone(pages)) {
      controller.begin(RAW, 0, pages.length);
      this.#regions.learn(this.#block, this.#page, 0);
      return pages;
    }
    const codec = this.#codec;
    controller.begin(codec, this.#depth, pages.length);
    const startMs = this.#now();
    const body = this.#compressor(codec).compress(pages, bodyOf(target)) as Uint8Array;
    const ms = this.#now() - startMs;
    controller.compressed(codec, pages.length, body.length, ms);
    const depth = controller.depthOf(codec, pages.length, body.length);
    this.#wasFlat = depth < FLAT_DEPTH;
    this.#regions.learn(this.#block, this.#page, depth);
    const { code } = CODECS[codec]!;
    // lz4 keeps nothing of a packet, so its result may be thrown away; a zstd stream must be complete.
    if (code === PayloadCodec.lz4 && body.length >= pages.length) return pages;
    return framePayload(code, body.length, pages.length, target);
  }

  observe(waitedForJobMs: number, writeMs: number, payloadBytes: number): void {
    this.#waitedMs += waitedForJobMs;
    this.#writeMs += writeMs;
    this.#payloadBytes += payloadBytes;
    const now = this.#now();
    if (now - this.#observedMs < LEAST_OBSERVED_MS) return;
    if (!this.#controller.isLimited || now - this.#lookedMs >= LIMITED_LOOK_MS) this.#watchLink(now);
    const sentBytes = this.#link?.sentBytes();
    const sent = sentBytes === undefined ? undefined : sentBytes - this.#sentBytes;
    this.#sentBytes = sentBytes ?? 0;
    this.#controller.observe(this.#waitedMs, this.#writeMs, this.#payloadBytes, sent);
    this.#observedMs = now;
    this.#waitedMs = 0;
    this.#writeMs = 0;
    this.#payloadBytes = 0;
  }

  close(): void {
    for (const compressor of this.#compressors) compressor?.close();
    this.#compressors.fill(undefined);
  }

  /** A packet whose place nobody told is taken to follow the one before. */
  #choose(): void {
    if (!this.#isChosen) this.locate(this.#block, this.#page);
  }

  /** Where the kernel does not tell, a write that took long is taken to have waited for a link that is always busy. */
  #watchLink(now: number): void {
    this.#lookedMs = now;
    const progress = this.#progress;
    if (this.#link?.progress?.(progress) === true) {
      this.#controller.link(progress.busyMs - this.#busyMs, progress.arrivedBytes - this.#arrivedBytes);
      this.#busyMs = progress.busyMs;
      this.#arrivedBytes = progress.arrivedBytes;
      return;
    }
    const isHeldUp = this.#writeMs > this.#payloadBytes / SLOW_WRITE_BYTES_PER_MS;
    this.#controller.link(isHeldUp ? now - this.#observedMs : this.#writeMs, this.#payloadBytes);
  }

  /** Suspects are left as they are until their bytes look otherwise, or for a while. */
  #isLeftAlone(pages: Uint8Array): boolean {
    this.#sinceProbe++;
    if (this.#sinceProbe < PROBE_PACKETS && looksRandom(pages)) return true;
    this.#sinceProbe = 0;
    return false;
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
    if (code === PayloadCodec.lz4) return createLz4Compressor();
    if (isFrame && this.#library !== undefined) return createFrameCompressor(this.#library, level);
    return createZstdCompressor(level);
  }
}

function controllerOf(link: ChannelLink, now: () => number): AdaptiveController {
  return new AdaptiveController(PRIORS, {
    get limitBytesPerMs() {
      return link.limitBytesPerMs;
    },
    channels: link.channels,
    price: link.price,
    now,
  });
}
