import type { LinkPrice } from '../channel-link.ts';
import { CodecEstimates, type CodecPrior, RAW } from './estimates.ts';
import { bestMixture, CodecHull } from './hull.ts';
import { ThreadUse } from './thread-use.ts';

/**
 * Which codec the next packet gets, so that neither the channel's thread nor its link waits for the other.
 *
 * The price of a byte on the wire decides (hull.ts): each packet takes the codec with the least thread
 * time plus price times bytes. At the right price two neighbouring codecs cost the same, and how far thread and
 * link are apart moves it a little to either side, packet by packet. Pages that compress well are compressed at
 * prices at which others are sent as they are.
 *
 * The link's rate is what the kernel says of the connection, or the user's limit where that is less.
 *
 * A class of numbers without any I/O: times in ms, amounts in bytes.
 */

export interface ControllerOptions {
  /** The user's limit for all channels together, bytes per ms, which may change; absent: none. */
  readonly limitBytesPerMs?: number | undefined;
  /** How many channels share the limit; 1 if absent. */
  readonly channels?: number | undefined;
  /** What they have agreed on; absent: a channel of its own. */
  readonly price?: LinkPrice | undefined;
  /** A clock in ms. */
  readonly now?: (() => number) | undefined;
}

/** Over which time the link's rate is measured, ms, and the length of a packet's cycle, packets. */
const HORIZON_MS = 300;
const FIRST_HORIZON_MS = 30;
const HORIZON_PACKETS = 8;
/** A long pause is no reason to forget everything. */
const MOST_DECAY = 2;
/** The link is believed to be as at the start until it was busy for longer than this, ms. */
const START_MS = 8;
/** How long thread and link may be apart until the price is that of the next codec, ms, and in packets at least. */
const BALANCE_MS = 10;
const BALANCE_PACKETS = 6;
/** The price stays between those for links this many times faster and slower than the one that was measured. */
const FASTER = 2;
const SLOWER = 1.25;
/** Beyond the position at which two codecs cost the same, so that it is clearly one of them. */
const MARGIN = 0.4;
/** A wait of more packets than these is not the link's: there is nothing to send. */
const LONG_WAIT_PACKETS = 4;
/** How long what codecs cost beside each other is believed, ms. */
const HULL_MS = 20;
/** What mixing must promise, or pages are sent as they are: it costs the receiver time as well. */
const LEAST_GAIN = 0.1;
/**
 * The same for the first packets under a limit, which pay for memory and caches on both sides and know nothing of
 * the machine. Without a limit nothing is known of the link either, and sending too much costs more.
 */
const FIRST_GAIN = 0.4;
const FIRST_PACKETS = 16;
/** Packets after which a codec next to the one in use is tried again. */
const EXPLORE_PACKETS = 1000;

export class AdaptiveController {
  readonly #estimates: CodecEstimates;
  readonly #options: ControllerOptions;
  readonly #channels: number;
  readonly #now: () => number;
  readonly #use = new ThreadUse();
  #packets = 0;
  readonly #hull = new CodecHull();
  #hullAtMs = Number.NEGATIVE_INFINITY;
  /** This channel's own, where it is not a limit that holds it up. */
  readonly #ownPrice = new OwnPrice();
  /** Whether compressing pays at all. */
  #isWorthwhile = false;
  /** How much longer than the thread the link will take for the packets since the price was set, ms. */
  #expectedAheadMs = 0;
  // Over the horizon.
  #linkBytes: number;
  #linkMs = START_MS;
  #linkAtMs: number | undefined;
  #linkAgeMs = 0;
  /** How long the link was busy since the last packet. */
  #busyMs = 0;
  #cycleMs = 0;
  #cycles = 0;
  // Since the last call of `observe`.
  #lastMs: number | undefined;
  #codecMs = 0;
  #pageBytes = 0;
  #isFirstOfCodec = false;

  /** @param priors of the codecs in the order of their cost, the one that does nothing first */
  constructor(priors: readonly CodecPrior[], options: ControllerOptions = {}) {
    const estimates = new CodecEstimates(priors);
    this.#estimates = estimates;
    this.#options = options;
    this.#channels = options.channels ?? 1;
    this.#now = options.now ?? (() => performance.now());
    // Without a limit as if the third codec were not enough: a slow link loses little by it, and a fast one
    // shows itself in a few packets.
    const first = Math.min(2, priors.length - 1);
    const depth = estimates.usualDepth;
    const balanced = (0.7 * estimates.wire(first, depth)) / estimates.threadMs(first, depth);
    this.#linkBytes = START_MS * (Number.isFinite(this.#share) ? this.#share : balanced);
    this.#setPrice(0);
  }

  /** The rate of this channel's link as it is believed, bytes per ms. */
  get linkBytesPerMs(): number {
    return Math.min(this.#share, this.#linkBytes / this.#linkMs);
  }

  /** Whether the limit is what holds this channel up, not its link: what the link does then hardly matters. */
  get isLimited(): boolean {
    return Number.isFinite(this.#share) && this.#share <= this.#linkBytes / this.#linkMs;
  }

  /** The depth of pages nobody knows more of: the recent ones that could be compressed. */
  get typicalDepth(): number {
    return this.#estimates.usualDepth;
  }

  /**
   * What a byte on the wire is worth now, ms of thread time. 0: pages are sent as they are. It is less while a
   * link that went unused can be made up for, and moves with each packet before any was measured: pages that go
   * as they are take so little of the thread that many of them would fill the link for longer than it looks ahead.
   */
  get price(): number {
    if (!this.#isWorthwhile) return 0;
    const position = this.#sharedPrice.position ?? 0;
    return this.#hull.priceAt(position + (this.#expectedAheadMs - this.#use.unusedMs) / this.#scaleMs);
  }

  /** The codec for pages of this depth (see `depthOf`). */
  choose(depth: number): number {
    const { price } = this;
    if (price === 0) return RAW;
    const estimates = this.#estimates;
    let best = RAW;
    let least = Number.POSITIVE_INFINITY;
    for (let codec = 0; codec < estimates.count; codec++) {
      const cost = estimates.cost(codec, depth, price);
      if (cost >= least) continue;
      least = cost;
      best = codec;
    }
    return best === RAW ? best : this.#explored(best);
  }

  /** What a codec's result says about its pages. 0: incompressible. */
  depthOf(codec: number, pageBytes: number, wireBytes: number): number {
    return this.#estimates.depthOf(codec, pageBytes, wireBytes);
  }

  /** A packet with `pageBytes` of pages of this depth is about to be sent with this codec. */
  begin(codec: number, depth: number, pageBytes: number): void {
    this.#packets++;
    this.#pageBytes += pageBytes;
    const estimates = this.#estimates;
    const linkMs = estimates.wire(codec, depth) / this.linkBytesPerMs;
    this.#expectedAheadMs += pageBytes * (linkMs * this.#use.use - estimates.threadMs(codec, depth));
  }

  /** A packet was compressed. */
  compressed(codec: number, pageBytes: number, wireBytes: number, ms: number): void {
    this.#codecMs += ms;
    const isKnown = this.#estimates.learnCodec(codec, this.#packets, pageBytes, wireBytes, ms);
    if (!isKnown) this.#isFirstOfCodec = true;
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
    this.#busyMs += busyMs;
    // What a connection does at first, into empty buffers, is soon forgotten.
    this.#linkAgeMs += elapsedMs;
    const horizonMs = Math.min(HORIZON_MS, Math.max(FIRST_HORIZON_MS, this.#linkAgeMs / 2));
    const decay = Math.exp(-Math.min(elapsedMs / horizonMs, MOST_DECAY));
    this.#linkMs = this.#linkMs * decay + busyMs;
    this.#linkBytes = this.#linkBytes * decay + bytes;
  }

  /**
   * What the channel did since the last call, with a packet or some: see `PageCompressor.observe`.
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
    const sinceMs = this.#lastMs === undefined ? writeMs + this.#codecMs : now - this.#lastMs;
    const waitedMs = this.#lastMs === undefined ? 0 : Math.min(waitedForJobMs, sinceMs);
    this.#lastMs = now;
    if (this.#isFirstOfCodec) {
      this.#isFirstOfCodec = false;
      this.#expectedAheadMs = 0;
      this.#busyMs = 0;
    } else this.#account(sinceMs, waitedMs, writeMs, payloadBytes, sentBytes);
    this.#codecMs = 0;
    this.#pageBytes = 0;
  }

  #account(
    sinceMs: number,
    waitedMs: number,
    writeMs: number,
    payloadBytes: number,
    sentBytes: number,
  ): void {
    const estimates = this.#estimates;
    // The limit is for all: a channel that gets less than its part leaves more to the others.
    const limitMs = sentBytes / this.#limitBytesPerMs;
    const linkMs = Math.max((payloadBytes * this.#linkMs) / this.#linkBytes, limitMs);
    const usedMs = this.isLimited ? limitMs : Math.max(this.#busyMs, limitMs);
    this.#busyMs = 0;
    const longMs = LONG_WAIT_PACKETS * Math.max(linkMs, payloadBytes / this.linkBytesPerMs);
    const countedMs = Math.min(waitedMs, longMs);
    const cycleMs = sinceMs - waitedMs + countedMs;
    const otherMs = Math.max(0, cycleMs - countedMs - writeMs - this.#codecMs);
    if (payloadBytes > 0) estimates.learnCopy(waitedMs > 0, writeMs, payloadBytes);
    if (this.#pageBytes > 0) estimates.learnOther(otherMs, this.#pageBytes, cycleMs);
    const decay = 1 - 1 / HORIZON_PACKETS;
    this.#cycleMs = this.#cycleMs * decay + cycleMs;
    this.#cycles = this.#cycles * decay + 1;
    this.#use.watch(cycleMs, usedMs, this.#meanCycleMs);
    const copyMs = Math.min(writeMs, estimates.copyMs(payloadBytes));
    this.#setPrice(linkMs * this.#use.use - (otherMs + this.#codecMs + copyMs));
  }

  get #limitBytesPerMs(): number {
    return this.#options.limitBytesPerMs ?? Number.POSITIVE_INFINITY;
  }

  /** This channel's part of the limit, if all are equal. */
  get #share(): number {
    return this.#limitBytesPerMs / this.#channels;
  }

  get #meanCycleMs(): number {
    return this.#cycles === 0 ? 0 : this.#cycleMs / this.#cycles;
  }

  get #scaleMs(): number {
    return Math.max(BALANCE_MS, BALANCE_PACKETS * this.#meanCycleMs);
  }

  /** @param aheadMs how much longer the link has to work than the thread had */
  #setPrice(aheadMs: number): void {
    this.#expectedAheadMs = 0;
    const estimates = this.#estimates;
    const link = this.linkBytesPerMs;
    const { use } = this.#use;
    const isStart = this.#packets < FIRST_PACKETS && Number.isFinite(this.#limitBytesPerMs);
    this.#isWorthwhile = bestMixture(estimates, link, use) <= 1 - (isStart ? FIRST_GAIN : LEAST_GAIN);
    if (!this.#isWorthwhile) return;
    const hull = this.#hull;
    const now = this.#now();
    if (now - this.#hullAtMs >= HULL_MS || this.#packets < FIRST_PACKETS) {
      hull.update(estimates);
      this.#hullAtMs = now;
    }
    const price = this.#sharedPrice;
    const isShared = price !== this.#ownPrice;
    if (price.position === undefined) price.position = hull.balance(link, use);
    price.move(aheadMs / this.#scaleMs / (isShared ? this.#channels : 1));
    const least = hull.balance(link * FASTER, use) - MARGIN;
    const most = hull.balance(link / SLOWER, use) + MARGIN;
    if (price.position < least) price.position = least;
    else if (price.position > most) price.position = most;
  }

  get #sharedPrice(): LinkPrice {
    const { price } = this.#options;
    return price !== undefined && this.isLimited ? price : this.#ownPrice;
  }

  /** Now and then a neighbour of the codec: what was once measured may have changed. */
  #explored(codec: number): number {
    for (const neighbour of [codec - 1, codec + 1]) {
      if (neighbour === RAW || neighbour >= this.#estimates.count) continue;
      if (this.#estimates.age(neighbour, this.#packets) >= EXPLORE_PACKETS) return neighbour;
    }
    return codec;
  }
}

class OwnPrice implements LinkPrice {
  position: number | undefined;

  move(by: number): void {
    if (this.position !== undefined) this.position += by;
  }
}
