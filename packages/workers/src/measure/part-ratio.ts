import { TARGET_PAGE_BYTES } from '@pageferry/core/memory';

/** What became of packets: their numbers, and the bytes of their payloads. */
export interface PacketSizes {
  readonly packets: readonly number[];
  readonly payloadBytes: readonly number[];
}

/**
 * Makes ratios comparable of which some are of all packets and some, of slow codecs, of the first ones only. What is hard
 * to compress for one codec is hard for another: if a codec that saw all packets did better on the first ones than on all,
 * so did the one that saw only those.
 */
export class RatioJudge {
  readonly #pageCounts: Uint32Array;
  /** Payload of each packet by a codec that saw all of them. */
  #reference: Uint32Array | undefined;

  /** @param packets first page and number of pages of each packet */
  constructor(packets: Uint32Array) {
    this.#pageCounts = packets.filter((_, index) => index % 2 === 1);
  }

  /** Takes a round of a codec that compresses; the first one that is whole becomes the measure. */
  offer(sizes: PacketSizes): void {
    if (this.#reference !== undefined || !this.#isWhole(sizes)) return;
    this.#reference = new Uint32Array(this.#pageCounts.length);
    for (const [index, packet] of sizes.packets.entries()) {
      this.#reference[packet] = sizes.payloadBytes[index]!;
    }
  }

  /** Uncompressed over compressed bytes, as it would be for all packets. */
  ratio(sizes: PacketSizes): number {
    const own = this.#bytes(sizes.packets) / sum(sizes.payloadBytes);
    const reference = this.#reference;
    if (reference === undefined || this.#isWhole(sizes)) return own;
    const seen = this.#bytes(sizes.packets) / sum(sizes.packets.map((packet) => reference[packet]!));
    const all = (sum(this.#pageCounts) * TARGET_PAGE_BYTES) / sum(reference);
    return own * (all / seen);
  }

  #isWhole({ packets }: PacketSizes): boolean {
    return packets.length === this.#pageCounts.length;
  }

  #bytes(packets: readonly number[]): number {
    return sum(packets.map((packet) => this.#pageCounts[packet]!)) * TARGET_PAGE_BYTES;
  }
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
