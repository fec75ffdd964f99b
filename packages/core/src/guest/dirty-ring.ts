/** Pages of a full ring, 4 MiB. (KVM's are of 1024 entries or more, as the user of a QEMU chooses.) */
export const DIRTY_RING_PAGES = 1024;

/**
 * The distinct pages that one vCPU has written since its ring was emptied: what KVM's dirty ring holds. Used by the
 * vCPU's thread alone.
 */
export class DirtyRing {
  /** Pages in it. May pass `DIRTY_RING_PAGES`: a vCPU looks at it between its writes only. */
  length = 0;
  readonly #seen: Uint32Array;
  readonly #entries = new Uint32Array(DIRTY_RING_PAGES);

  /** @param pageCount the pages that the vCPU can write are 0 to `pageCount - 1` */
  constructor(pageCount: number) {
    this.#seen = new Uint32Array(Math.ceil(pageCount / 32));
  }

  get isFull(): boolean {
    return this.length >= DIRTY_RING_PAGES;
  }

  /** Puts a page in, unless it is there. */
  push(page: number): void {
    const bit = 1 << (page & 31);
    const word = page >>> 5;
    if ((this.#seen[word]! & bit) !== 0) return;
    this.#seen[word]! |= bit;
    if (this.length < DIRTY_RING_PAGES) this.#entries[this.length] = page;
    this.length++;
  }

  empty(): void {
    if (this.length > DIRTY_RING_PAGES) this.#seen.fill(0);
    else for (let i = 0; i < this.length; i++) this.#seen[this.#entries[i]! >>> 5] = 0;
    this.length = 0;
  }
}
