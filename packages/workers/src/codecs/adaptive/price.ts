import { type CodecEstimates, RAW } from './estimates.ts';

/**
 * A channel whose thread and link work at the same time moves pages at the rate of the slower one, so the best
 * mixture of codecs takes equally long on both: a linear program with two rows. Its solution is a price for a
 * byte on the wire, in ms of thread time: each packet takes the codec with the least thread time plus price times
 * bytes.
 */

/** What a saved byte is worth more when even the hardest codec leaves the thread idle. */
const MOST_FACTOR = 4;

/**
 * The price at which thread and link take equally long, for pages of the usual depth: walks the lower hull of
 * (thread time, wire bytes) from the codec that does nothing to where they do.
 *
 * @param link bytes per ms
 * @param use the share of its time that the thread may use
 */
export function priceFor(estimates: CodecEstimates, link: number, use: number): number {
  const depth = estimates.usualDepth;
  let from = RAW;
  let price = 0;
  for (;;) {
    const fromMs = estimates.threadMs(from, depth);
    const fromWire = estimates.wire(from, depth);
    if (from !== RAW && fromMs >= (fromWire / link) * use) return price;
    let next = RAW;
    let slope = Number.POSITIVE_INFINITY;
    for (let codec = 1; codec < estimates.count; codec++) {
      const saved = fromWire - estimates.wire(codec, depth);
      if (saved <= 0) continue;
      const msPerByte = (estimates.threadMs(codec, depth) - fromMs) / saved;
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
