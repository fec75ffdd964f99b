import { MULTIFD_PAGES_PER_PACKET } from '@pageferry/core/wire';

const REGION_SHIFT = Math.log2(MULTIFD_PAGES_PER_PACKET);
const UNKNOWN = 255;
/** Depths are kept in steps of 1/50, up to 5: a page that leaves less than 1 % of itself. */
const STEPS_PER_DEPTH = 50;
const MOST_STEPS = 250;
/** How much of what was known stays when a region is seen again. */
const KEPT = 0.5;

/** How fast a new packet changes what is expected of its neighbours, and a packet that was not tried forgets it. */
const RECENT_GAIN = 0.2;
const FORGET_GAIN = 0.05;

/**
 * How deep the pages of each region of guest RAM were found to compress (see `CodecPrior.depth`): a byte for
 * each 512 KiB, 2 MiB per TiB. What is not known yet is taken to be like the packets just before.
 */
export class RegionDepths {
  readonly #blocks: Uint8Array[] = [];
  #recent: number;

  /** @param first what to expect before anything was seen */
  constructor(first: number) {
    this.#recent = first;
  }

  /** What to expect of pages there. */
  expect(block: number, page: number): number {
    const steps = this.#known(block, page);
    return steps === UNKNOWN ? this.#recent : steps / STEPS_PER_DEPTH;
  }

  /** What was found there. */
  learn(block: number, page: number, depth: number): void {
    this.#recent += RECENT_GAIN * (depth - this.#recent);
    const known = this.#known(block, page);
    const kept = known === UNKNOWN ? depth : KEPT * (known / STEPS_PER_DEPTH) + (1 - KEPT) * depth;
    const region = page >>> REGION_SHIFT;
    this.#room(block, region)[region] = Math.min(MOST_STEPS, Math.round(kept * STEPS_PER_DEPTH));
  }

  /** Pages there were sent untried: what the last ones were matters less, and the usual depth more. */
  forget(usual: number): void {
    this.#recent += FORGET_GAIN * (usual - this.#recent);
  }

  /** Steps, or UNKNOWN. */
  #known(block: number, page: number): number {
    return this.#blocks[block]?.[page >>> REGION_SHIFT] ?? UNKNOWN;
  }

  #room(block: number, region: number): Uint8Array {
    const before = this.#blocks[block];
    if (before !== undefined && region < before.length) return before;
    const grown = new Uint8Array(Math.max(64, 2 * (region + 1))).fill(UNKNOWN);
    if (before !== undefined) grown.set(before);
    // Blocks are few and start at 0, but need not be seen in order.
    while (this.#blocks.length < block) this.#blocks.push(new Uint8Array(0));
    this.#blocks[block] = grown;
    return grown;
  }
}
