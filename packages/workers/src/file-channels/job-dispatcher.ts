import { ChannelCells } from '../channels/channel-cells.ts';
import type { ChannelPool } from '../channels/channel-pool.ts';
import { PAGE_RING_BYTES, PageRing } from './page-ring.ts';

/** The coordinator's end of the job rings of a pool of writing threads. */
export class JobDispatcher {
  readonly cells: readonly ChannelCells[];
  readonly #pool: ChannelPool;
  readonly #rings: readonly PageRing[];
  #next = 0;

  constructor(pool: ChannelPool, channels: number) {
    this.#pool = pool;
    this.cells = Array.from({ length: channels }, () => ChannelCells.create(PAGE_RING_BYTES));
    this.#rings = this.cells.map((cells) => new PageRing(cells));
  }

  /** Resolves when every thread has begun its task. Rejects on failure, as all of these do. */
  opened(): Promise<void> {
    return this.#pool.until(() => this.cells.every((cells) => cells.isOpen));
  }

  /** Gives pages to the least loaded thread; of equal ones to each in turn. False: all rings are full. */
  submit(block: number, pages: Uint32Array, count: number): boolean {
    if (this.#pool.error !== undefined) return false;
    const rings = this.#rings;
    let best = this.#next;
    let bestLength = rings[best]!.length;
    for (let i = 1; i < rings.length && bestLength > 0; i++) {
      const candidate = (this.#next + i) % rings.length;
      const { length } = rings[candidate]!;
      if (length < bestLength) {
        best = candidate;
        bestLength = length;
      }
    }
    if (!rings[best]!.push(block, pages, count)) return false;
    this.#next = (best + 1) % rings.length;
    return true;
  }

  /** Resolves when `submit` can take something again. */
  drained(): Promise<void> {
    return this.#pool.until(() => this.#rings.some((ring) => ring.hasRoom));
  }

  /** Resolves when everything submitted so far was done. */
  flushed(): Promise<void> {
    const targets = this.cells.map((cells) => cells.queued);
    return this.#pool.until(() => {
      let flushed = true;
      // Each is asked, so that each rings when it is done.
      for (const [channel, cells] of this.cells.entries()) {
        if (!cells.isFlushed(targets[channel]!)) flushed = false;
      }
      return flushed;
    });
  }

  /** Tells every thread to end behind what was submitted. */
  async end(): Promise<void> {
    let next = 0;
    await this.#pool.until(() => {
      while (next < this.#rings.length && this.#rings[next]!.pushEnd()) next++;
      return next === this.#rings.length;
    });
  }

  /** Wakes every thread, so that it looks whether it was cancelled. */
  wake(): void {
    for (const cells of this.cells) cells.workerBell.ring();
  }
}
