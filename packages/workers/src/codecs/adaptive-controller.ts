/**
 * Which codec the next packet gets, so that neither the channel's thread nor its link waits for the other.
 *
 * Each codec costs a packet some thread time and, by the bytes that it leaves, some link time. A channel whose
 * thread and link work at the same time moves pages at the rate of the slower one, so the best mixture of codecs
 * is the one that takes equally long on both. That is a linear program with two rows; its solution is a price for
 * a byte on the wire, in ms of thread time: each packet takes the codec with the least thread time plus price
 * times bytes. At the right price two neighbouring codecs cost the same, and how far thread and link are apart
 * decides between them, packet by packet. Pages that compress well are compressed at prices at which others are
 * sent as they are.
 *
 * The link's rate is what the kernel says of the connection, or the user's limit where that is less. How long the
 * thread waits says nothing about the link: on a busy machine it waits for processors.
 *
 * A class of numbers without any I/O: times in ms, amounts in bytes.
 */

/** What is known about a codec before anything was measured. */
export interface CodecPrior {
  /** Thread time, ms per byte of pages; 0 for the codec that does nothing. Only the relations matter. */
  readonly msPerByte: number;
  /**
   * How far it compresses, relative to the others: pages of depth `d` leave `exp(-d * depth)` of their bytes.
   * 0 for the codec that does nothing.
   */
  readonly depth: number;
}

export interface ControllerOptions {
  /** The user's limit for all channels together, bytes per ms; absent: none. */
  readonly limitBytesPerMs?: number | undefined;
  /** How many channels share the limit. */
  readonly channels?: number | undefined;
  /** A clock in ms. */
  readonly now?: (() => number) | undefined;
}

/** The index of the codec that does nothing. */
export const RAW = 0;

/** Over which time rates are measured, ms, and over how many packets at least. */
const HORIZON_MS = 100;
const HORIZON_PACKETS = 8;
/** A long pause is no reason to forget everything. */
const MOST_DECAY = 2;
/** Over which time everything else that a packet costs is measured, ms: most of it comes in pieces. */
const OTHER_HORIZON_MS = 200;
/** The link is believed to be as at the start for as long as it has been busy for less than this, ms. */
const START_MS = 4;
/**
 * The share of its time that a thread may use: a link that waits costs more than a thread that does. It is less
 * where threads lose their processors, to the receiver for instance: each time that the link goes unused it
 * falls by a factor, and it comes back over the time after that.
 */
const MOST_USE = 0.9;
const LEAST_USE = 0.2;
const USE_FACTOR = 0.93;
const USE_BACK_MS = 1000;
/** How often it falls while the link stays unused, ms. */
const USE_STEP_MS = 20;
/** How long thread and link may be apart until the price is e times another, ms, and in packets at least. */
const BALANCE_MS = 10;
const BALANCE_PACKETS = 6;
/** The price stays between those for links this many times faster and slower than the one that was measured. */
const FASTER = 2;
const SLOWER = 1.25;
/** Beyond the price at which two codecs cost the same, so that it is clearly one of them. */
const PRICE_MARGIN = 1.5;
/** What a saved byte is worth more when even the hardest codec leaves the thread idle. */
const MOST_FACTOR = 4;
/** A link that had nothing to carry for this long, ms and packets, is not what limits the channel. */
const UNUSED_MS = 10;
const UNUSED_PACKETS = 3;
/** ... and that is this share of its time. */
const UNUSED_SHARE = 0.05;
/** How many times as long is remembered: what happened once is soon made up for. */
const UNUSED_MOST = 2;
/** The most that a packet costs beside codec and kernel, ms: more is an accident. */
const MOST_OTHER_MS = 5;
/** A wait of more packets than these is not the link's: there is nothing to send. */
const LONG_WAIT_PACKETS = 4;
/** What mixing must promise, or pages are sent as they are: it costs the receiver time as well. */
const LEAST_GAIN = 0.05;
/** What handing bytes to the kernel costs until it was measured, ms per byte. */
const FIRST_COPY_MS_PER_BYTE = 0.15 / (512 * 1024);
/** How deep pages compress until any were seen: as those that the priors were measured with. */
const FIRST_DEPTH = 1;
/** Packets after which a codec next to the one in use is tried again. */
const EXPLORE_PACKETS = 1000;

interface CodecEstimate {
  readonly priorMsPerByte: number;
  readonly priorDepth: number;
  /** Measured time against the prior and the machine's factor, as a logarithm. */
  logTime: number;
  logDepth: number;
  /** When it was measured last, in packets. */
  measuredAt: number;
  samples: number;
}

export class AdaptiveController {
  readonly #codecs: CodecEstimate[];
  readonly #limitBytesPerMs: number;
  readonly #channels: number;
  readonly #now: () => number;
  /** How much slower than the priors this machine is now, as a logarithm. */
  #logMachine = 0;
  #machineSamples = 0;
  #packets = 0;
  /** Depth of the pages that can be compressed. */
  #depth = FIRST_DEPTH;
  #copyMsPerByte = FIRST_COPY_MS_PER_BYTE;
  /** Thread time beside the codec and the kernel, per byte of pages. */
  #otherMsPerByte = 0;
  /** What a byte on the wire is worth, ms of thread time. 0: pages are sent as they are. */
  #price = 0;
  /** How long the link could have carried more than it got. */
  #unusedMs = 0;
  /** How long the link was unused since `#use` fell. */
  #unusedSinceMs = 0;
  #use = MOST_USE;
  // Over the horizon.
  #linkBytes: number;
  #linkMs = START_MS;
  #linkAtMs: number | undefined;
  #cycleMs = 0;
  #cycles = 0;
  #otherMs = 0;
  #otherBytes = 0;
  // Of the packet that is in work.
  #lastMs: number | undefined;
  #codecMs = 0;
  #pageBytes = 0;
  /** The codec was used for the first time. */
  #isFirst = false;

  /** @param codecs in the order of their cost, the one that does nothing first */
  constructor(codecs: readonly CodecPrior[], options: ControllerOptions = {}) {
    this.#codecs = codecs.map(({ msPerByte, depth }) => ({
      priorMsPerByte: msPerByte,
      priorDepth: depth,
      logTime: 0,
      logDepth: 0,
      measuredAt: 0,
      samples: 0,
    }));
    this.#limitBytesPerMs = options.limitBytesPerMs ?? Number.POSITIVE_INFINITY;
    this.#channels = options.channels ?? 1;
    this.#now = options.now ?? (() => performance.now());
    // As if the third codec were right: a slow link loses little by it, a fast one shows itself in a few packets.
    const first = Math.min(2, codecs.length - 1);
    const balanced = this.#wire(first, FIRST_DEPTH) / this.#threadMs(first, FIRST_DEPTH);
    this.#linkBytes = START_MS * (Number.isFinite(this.#share) ? this.#share : 0.8 * balanced);
    this.#setPrice(0);
  }

  /** The rate of this channel's link as it is believed, bytes per ms. */
  get linkBytesPerMs(): number {
    return Math.min(this.#share, this.#linkBytes / this.#linkMs);
  }

  /** This channel's part of the limit, if all are equal. */
  get #share(): number {
    return this.#limitBytesPerMs / this.#channels;
  }

  /** The depth of pages nobody knows more of: the recent ones that could be compressed. */
  get typicalDepth(): number {
    return this.#depth;
  }

  /** What a byte on the wire is worth now, ms of thread time. 0: pages are sent as they are. */
  get price(): number {
    return this.#price;
  }

  /** The codec for pages of this depth (see `depthOf`). */
  choose(depth: number): number {
    const price = this.#price;
    if (price === 0) return RAW;
    let best = RAW;
    let least = Number.POSITIVE_INFINITY;
    for (let codec = 0; codec < this.#codecs.length; codec++) {
      const cost = this.#threadMs(codec, depth) + price * this.#wire(codec, depth);
      if (cost >= least) continue;
      least = cost;
      best = codec;
    }
    return best === RAW ? best : this.#explored(best);
  }

  /** What a codec's result says about its pages. 0: incompressible. */
  depthOf(codec: number, pageBytes: number, wireBytes: number): number {
    const depth = -Math.log(wireBytes / pageBytes) / this.#depthOfCodec(codec);
    return depth > 0.01 ? depth : 0;
  }

  /** A packet with `pageBytes` of pages is about to be sent, compressed or not. */
  begin(pageBytes: number): void {
    this.#pageBytes = pageBytes;
    this.#codecMs = 0;
  }

  /**
   * A packet was compressed.
   *
   * @param expectedDepth what its pages were believed to be
   */
  compressed(codec: number, pageBytes: number, wireBytes: number, ms: number, expectedDepth: number): void {
    const estimate = this.#codecs[codec]!;
    this.#codecMs = ms;
    estimate.measuredAt = this.#packets;
    estimate.samples++;
    const depth = this.depthOf(codec, pageBytes, wireBytes);
    if (expectedDepth > 0.1 && depth > 0.1) {
      // Packets differ more than codecs do: slowly, and back to the prior where nothing is learnt.
      const off = Math.log(depth / expectedDepth);
      estimate.logDepth = clamp(0.999 * estimate.logDepth + 0.02 * off, 0.5);
    }
    if (depth > 0) this.#depth += 0.05 * (depth - this.#depth);
    // The first packet pays for the codec's memory.
    this.#isFirst = estimate.samples === 1;
    if (this.#isFirst || ms <= 0) return;
    const off = Math.log(ms / pageBytes / estimate.priorMsPerByte) - this.#logMachine - estimate.logTime;
    this.#machineSamples++;
    this.#logMachine += clamp(off, 1.5) * Math.max(0.1, 0.5 / this.#machineSamples);
    estimate.logTime = clamp(estimate.logTime + 0.05 * clamp(off, 1.5), 1);
  }

  /**
   * What the link did since the last call.
   *
   * @param busyMs how long it had something to carry
   * @param bytes how much arrived meanwhile
   */
  link(busyMs: number, bytes: number): void {
    const now = this.#now();
    const elapsedMs = this.#linkAtMs === undefined ? busyMs : now - this.#linkAtMs;
    this.#linkAtMs = now;
    const decay = Math.exp(-Math.min(elapsedMs / HORIZON_MS, MOST_DECAY));
    this.#linkMs = this.#linkMs * decay + busyMs;
    this.#linkBytes = this.#linkBytes * decay + bytes;
  }

  /**
   * What the channel did since the last call: see `PageCompressor.observe`.
   *
   * @param sentBytes what all channels together have sent since the last call
   */
  observe(
    waitedForJobMs: number,
    writeMs: number,
    payloadBytes: number,
    sentBytes = payloadBytes * this.#channels,
  ): void {
    const now = this.#now();
    const ownLinkMs = payloadBytes / this.linkBytesPerMs;
    // The limit is for all: a channel that gets less than its part leaves more to the others.
    const linkMs = Math.max(
      (payloadBytes * this.#linkMs) / this.#linkBytes,
      sentBytes / this.#limitBytesPerMs,
    );
    const sinceMs = this.#lastMs === undefined ? writeMs + this.#codecMs : now - this.#lastMs;
    const waitedMs = this.#lastMs === undefined ? 0 : Math.min(waitedForJobMs, sinceMs);
    const countedMs = Math.min(waitedMs, LONG_WAIT_PACKETS * Math.max(linkMs, ownLinkMs));
    const cycleMs = sinceMs - waitedMs + countedMs;
    const otherMs = Math.max(0, cycleMs - countedMs - writeMs - this.#codecMs);
    this.#lastMs = now;
    this.#packets++;
    if (this.#isFirst) {
      this.#isFirst = false;
      return;
    }
    if (payloadBytes > 0) this.#learnCopy(waitedMs > 0, writeMs / payloadBytes);
    const copyMs = Math.min(writeMs, this.#copyMsPerByte * payloadBytes);
    const decay = 1 - 1 / HORIZON_PACKETS;
    this.#cycleMs = this.#cycleMs * decay + cycleMs;
    this.#cycles = this.#cycles * decay + 1;
    this.#setPrice(this.#ahead(linkMs, otherMs + this.#codecMs + copyMs, cycleMs));
    this.#learnOther(otherMs, cycleMs);
    this.#codecMs = 0;
    this.#pageBytes = 0;
  }

  /** How much longer the link had to work than the thread, ms. */
  #ahead(linkMs: number, busyMs: number, cycleMs: number): number {
    const limitMs = this.#unusedLimitMs;
    const kept = this.#unusedMs * Math.exp(-cycleMs / (limitMs / UNUSED_SHARE));
    this.#unusedMs = Math.max(-limitMs, Math.min(UNUSED_MOST * limitMs, kept + cycleMs - linkMs));
    this.#use += (MOST_USE - this.#use) * (1 - Math.exp(-cycleMs / USE_BACK_MS));
    const aheadMs = linkMs * this.#use - busyMs;
    if (!this.#isLinkUnused) {
      this.#unusedSinceMs = 0;
      return aheadMs;
    }
    if (this.#unusedSinceMs === 0 || this.#unusedSinceMs > USE_STEP_MS) {
      this.#use = Math.max(LEAST_USE, this.#use * USE_FACTOR);
      this.#unusedSinceMs = 0;
    }
    this.#unusedSinceMs += cycleMs;
    return Math.min(0, aheadMs, linkMs - cycleMs);
  }

  /** Whether the link could have carried more for so long that it cannot be what the channel waits for. */
  get #isLinkUnused(): boolean {
    return this.#unusedMs > this.#unusedLimitMs;
  }

  get #unusedLimitMs(): number {
    return Math.max(UNUSED_MS, UNUSED_PACKETS * this.#meanCycleMs);
  }

  get #meanCycleMs(): number {
    return this.#cycles === 0 ? 0 : this.#cycleMs / this.#cycles;
  }

  #setPrice(aheadMs: number): void {
    const link = this.linkBytesPerMs;
    if (!this.#worthwhile) {
      this.#price = 0;
      return;
    }
    const least = this.#priceAt(link * FASTER) / PRICE_MARGIN;
    const most = this.#priceAt(link / SLOWER) * PRICE_MARGIN;
    const before = this.#price === 0 ? this.#priceAt(link) : this.#price;
    const scaleMs = Math.max(BALANCE_MS, BALANCE_PACKETS * this.#meanCycleMs);
    this.#price = Math.min(most, Math.max(least, before * Math.exp(aheadMs / scaleMs)));
  }

  /**
   * Solves the linear program for a link: walks the lower hull of (thread time, wire bytes) to where thread and
   * link take equally long, and returns what a byte saved costs there.
   */
  #priceAt(link: number): number {
    const depth = this.#depth;
    let from = RAW;
    let price = 0;
    for (;;) {
      const fromMs = this.#threadMs(from, depth);
      const fromWire = this.#wire(from, depth);
      if (from !== RAW && fromMs >= (fromWire / link) * this.#use) return price;
      let next = RAW;
      let slope = Number.POSITIVE_INFINITY;
      for (let codec = 1; codec < this.#codecs.length; codec++) {
        const saved = fromWire - this.#wire(codec, depth);
        if (saved <= 0) continue;
        const msPerByte = (this.#threadMs(codec, depth) - fromMs) / saved;
        if (msPerByte >= slope) continue;
        slope = msPerByte;
        next = codec;
      }
      // The most that there is does not fill the thread.
      if (next === RAW) return price * MOST_FACTOR;
      price = Math.max(slope, 0);
      from = next;
    }
  }

  /** Whether a mixture promises clearly more than pages as they are. */
  get #worthwhile(): boolean {
    const depth = this.#depth;
    const link = this.linkBytesPerMs;
    const rawLinkMs = 1 / link;
    const rawMs = this.#threadMs(RAW, depth) / this.#use;
    if (rawMs >= rawLinkMs) return false;
    let least = rawLinkMs;
    for (let codec = 1; codec < this.#codecs.length; codec++) {
      const ms = this.#threadMs(codec, depth) / this.#use;
      const linkMs = this.#wire(codec, depth) / link;
      // Mixed with raw ones so that both take equally long, or alone where the link is still the slower one.
      const part = ms <= linkMs ? 1 : (rawLinkMs - rawMs) / (rawLinkMs - rawMs + ms - linkMs);
      least = Math.min(least, rawLinkMs + part * (linkMs - rawLinkMs));
    }
    return least < (1 - LEAST_GAIN) * rawLinkMs;
  }

  /** Bytes on the wire per byte of pages. */
  #wire(codec: number, depth: number): number {
    return codec === RAW ? 1 : Math.exp(-depth * this.#depthOfCodec(codec));
  }

  /** Thread time per byte of pages. */
  #threadMs(codec: number, depth: number): number {
    return (
      this.#otherMsPerByte + this.#codecMsPerByte(codec) + this.#copyMsPerByte * this.#wire(codec, depth)
    );
  }

  #codecMsPerByte(codec: number): number {
    const { priorMsPerByte, logTime } = this.#codecs[codec]!;
    return priorMsPerByte * Math.exp(this.#logMachine + logTime);
  }

  #depthOfCodec(codec: number): number {
    const { priorDepth, logDepth } = this.#codecs[codec]!;
    return priorDepth * Math.exp(logDepth);
  }

  /** @param hadRoom the channel had waited for a job: the socket's buffer cannot have been full */
  #learnCopy(hadRoom: boolean, msPerByte: number): void {
    const most = Math.min(this.#codecMsPerByte(1), 3 * this.#copyMsPerByte);
    const off = Math.min(msPerByte, most) - this.#copyMsPerByte;
    // Otherwise some of it was waiting: the faster writes tell more.
    this.#copyMsPerByte += off * (hadRoom || off < 0 ? 0.1 : 0.02);
  }

  #learnOther(ms: number, cycleMs: number): void {
    if (this.#pageBytes === 0) return;
    const decay = Math.exp(-cycleMs / OTHER_HORIZON_MS);
    this.#otherMs = this.#otherMs * decay + Math.min(MOST_OTHER_MS, Math.max(0, ms));
    this.#otherBytes = this.#otherBytes * decay + this.#pageBytes;
    this.#otherMsPerByte = this.#otherMs / this.#otherBytes;
  }

  /** Now and then a neighbour of the codec: what was once measured may have changed. */
  #explored(codec: number): number {
    for (const neighbour of [codec - 1, codec + 1]) {
      const estimate = this.#codecs[neighbour];
      if (neighbour === RAW || estimate === undefined) continue;
      if (this.#packets - estimate.measuredAt >= EXPLORE_PACKETS) return neighbour;
    }
    return codec;
  }
}

function clamp(value: number, limit: number): number {
  return Math.max(-limit, Math.min(limit, value));
}
