import { type CodecEstimates, RAW } from './estimates.ts';

/*
 * A channel whose thread and link work at the same time moves pages at the rate of the slower one, so the best
 * mixture of codecs takes equally long on both: a linear program with two rows. Its solution is a price for a
 * byte on the wire, in ms of thread time: each packet takes the codec with the least thread time plus price times
 * bytes. The prices at which the choice changes are the slopes of the lower hull of (thread time, wire bytes).
 */

/** How many times e a price is, one codec beyond the last slope. */
const BEYOND = 2;
/** Behind all codecs. */
const FAR = 16;
/** A codec that costs less than none at all, because handing its bytes over costs more: ms per byte. */
const LEAST_PRICE = 1e-8;

/**
 * The codecs that are worth using for pages of the usual depth, and where a price lies among them.
 *
 * A position is a codec's index where that codec is the choice for usual pages, and halfway between two neighbours
 * where both cost the same. It keeps its meaning while the estimates of what the hull's codecs cost go up and down.
 */
export class CodecHull {
  /** The hull's codecs from RAW on, and between each and the next the price at which they cost the same. */
  readonly #codecs: number[] = [RAW];
  readonly #logPrices: number[] = [];
  /** What these codecs need for a byte of pages: thread time (ms) and bytes on the wire. */
  readonly #threadMs: number[] = [];
  readonly #wire: number[] = [];

  update(estimates: CodecEstimates): void {
    const depth = estimates.usualDepth;
    this.#codecs.length = 0;
    this.#threadMs.length = 0;
    this.#wire.length = 0;
    this.#logPrices.length = 0;
    let from = RAW;
    for (;;) {
      const fromMs = estimates.threadMs(from, depth);
      const fromWire = estimates.wire(from, depth);
      this.#codecs.push(from);
      this.#threadMs.push(fromMs);
      this.#wire.push(fromWire);
      let next = RAW;
      let slope = Number.POSITIVE_INFINITY;
      for (let codec = from + 1; codec < estimates.count; codec++) {
        const saved = fromWire - estimates.wire(codec, depth);
        if (saved <= 0) continue;
        const msPerByte = (estimates.threadMs(codec, depth) - fromMs) / saved;
        if (msPerByte >= slope) continue;
        slope = msPerByte;
        next = codec;
      }
      if (next === RAW) return;
      this.#logPrices.push(Math.log(Math.max(slope, LEAST_PRICE)));
      from = next;
    }
  }

  /** The price of a byte on the wire there, ms of thread time. */
  priceAt(position: number): number {
    const prices = this.#logPrices;
    const last = prices.length - 1;
    if (last < 0) return 0;
    // Further off it makes no difference any more, and would be beyond a number's range.
    if (Math.abs(position) > FAR) return this.priceAt(Math.sign(position) * FAR);
    if (position <= this.#between(0)) return Math.exp(prices[0]! + BEYOND * (position - this.#between(0)));
    for (let i = 0; i < last; i++) {
      const from = this.#between(i);
      const to = this.#between(i + 1);
      if (position > to) continue;
      const part = (position - from) / (to - from);
      return Math.exp(prices[i]! + part * (prices[i + 1]! - prices[i]!));
    }
    return Math.exp(prices[last]! + BEYOND * (position - this.#between(last)));
  }

  /**
   * The position at which thread and link take equally long; beyond the hardest codec where even that one leaves
   * the thread idle.
   *
   * @param link bytes per ms
   * @param use the share of its time that the thread may use
   */
  balance(link: number, use: number): number {
    const last = this.#codecs.length - 1;
    for (let i = 1; i <= last; i++)
      if (this.#threadMs[i]! >= (this.#wire[i]! / link) * use) return this.#between(i - 1);
    return this.#codecs[last]! + 1;
  }

  /** Where the codecs i and i + 1 of the hull cost the same. */
  #between(i: number): number {
    return (this.#codecs[i]! + this.#codecs[i + 1]!) / 2;
  }
}

/** What the best mixture with one codec takes of the time that pages take as they are: 1 when none is better. */
export function bestMixture(estimates: CodecEstimates, link: number, use: number): number {
  const depth = estimates.usualDepth;
  const rawLinkMs = 1 / link;
  const rawMs = estimates.threadMs(RAW, depth) / use;
  if (rawMs >= rawLinkMs) return 1;
  let least = rawLinkMs;
  for (let codec = 1; codec < estimates.count; codec++) {
    const ms = estimates.threadMs(codec, depth) / use;
    const linkMs = estimates.wire(codec, depth) / link;
    // So many that both take equally long, or all where the link is still the slower one.
    const part = ms <= linkMs ? 1 : (rawLinkMs - rawMs) / (rawLinkMs - rawMs + ms - linkMs);
    least = Math.min(least, rawLinkMs + part * (linkMs - rawLinkMs));
  }
  return least / rawLinkMs;
}
