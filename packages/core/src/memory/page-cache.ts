import { TARGET_PAGE_BYTES } from './ram-block.ts';

/** Slots whose memory is taken together, when the first of them is filled: 4 MiB. */
const SEGMENT_SLOTS = 1024;
/** How many dirty syncs a page is safe from one that wants the same slot. */
const LIFETIME = 2;
const EMPTY = -1;

/** Memory of some slots, and what is in them. */
interface Segment {
  readonly bytes: Buffer<ArrayBuffer>;
  /** The same memory. */
  readonly words: Int32Array<ArrayBuffer>;
  /** Page in each slot, or EMPTY. */
  readonly pages: Float64Array;
  /** Dirty sync count at which each slot's page was last looked for or put there. */
  readonly ages: Float64Array;
}

/**
 * The pages that a destination has, as far as a source of XBZRLE keeps them: QEMU's cache, with its rules.
 *
 * - As many slots as pages fit into its size, a power of two; a page's slot is given by the low bits of its number.
 * - A page that wants the slot of another gets it only when nobody has looked for the other for two dirty syncs.
 *
 * A page's number is its address in all of the guest's RAM / 4096, so that pages of several blocks do not meet more
 * often than they must. Memory is taken only for slots that are used; when there is none, the page is not kept.
 * In Node, as BlockView.
 */
export class PageCache {
  readonly sizeBytes: number;
  /** Memory of the slot that `find` or `claim` gave last; the page begins at `at`. */
  bytes: Buffer<ArrayBuffer> = Buffer.alloc(0);
  words: Int32Array<ArrayBuffer> = new Int32Array(0);
  at = 0;
  readonly #slots: number;
  readonly #segments: (Segment | undefined)[] = [];

  /** @param sizeBytes a power of two, 4096 at least */
  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.#slots = sizeBytes / TARGET_PAGE_BYTES;
  }

  /** Whether the page is there; then it is at `bytes` and `at`, and its age is `age`. */
  find(page: number, age: number): boolean {
    const slot = page % this.#slots;
    const segment = this.#segments[Math.floor(slot / SEGMENT_SLOTS)];
    const index = slot % SEGMENT_SLOTS;
    if (segment === undefined || segment.pages[index] !== page) return false;
    this.#use(segment, index, age);
    return true;
  }

  /**
   * Takes the page's slot for it, and returns whether it could. The caller then puts the page's content at `bytes`
   * and `at`: the cache must hold what is sent.
   */
  claim(page: number, age: number): boolean {
    const slot = page % this.#slots;
    const segment = this.#segment(Math.floor(slot / SEGMENT_SLOTS));
    if (segment === undefined) return false;
    const index = slot % SEGMENT_SLOTS;
    const there = segment.pages[index]!;
    if (there !== page && there !== EMPTY && segment.ages[index]! + LIFETIME > age) return false;
    segment.pages[index] = page;
    this.#use(segment, index, age);
    return true;
  }

  #use(segment: Segment, index: number, age: number): void {
    segment.ages[index] = age;
    this.bytes = segment.bytes;
    this.words = segment.words;
    this.at = index * TARGET_PAGE_BYTES;
  }

  #segment(number: number): Segment | undefined {
    this.#segments[number] ??= allocate(Math.min(this.#slots, SEGMENT_SLOTS));
    return this.#segments[number];
  }
}

function allocate(slots: number): Segment | undefined {
  try {
    const memory = new ArrayBuffer(slots * TARGET_PAGE_BYTES);
    return {
      bytes: Buffer.from(memory),
      words: new Int32Array(memory),
      pages: new Float64Array(slots).fill(EMPTY),
      ages: new Float64Array(slots),
    };
  } catch {
    return undefined;
  }
}
