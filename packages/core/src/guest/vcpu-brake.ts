import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { DirtyRing } from './dirty-ring.ts';
import type { RunControl } from './run-control.ts';
import type { VcpuThrottle } from './vcpu-throttle.ts';

/** Of this much time in which a vCPU may run follows its pause. */
const TIMESLICE_MS = 10;
/** A ring that does not fill is emptied after this long. */
const ROUND_MS = 1000;
/** A limit lets a vCPU run for at least this share of the time, however far it is above it. */
const LEAST_SHARE = 0.01;
/** How soon a vCPU that stands still notices that it need not any more. */
const WATCH_MS = 20;

/**
 * The vCPU's side of `VcpuThrottle`: counts the pages that it dirties, measures its rate, and makes it stand still
 * as long as auto-converge or its dirty limit demands.
 *
 * - Auto-converge at p percent: a pause of p/(100-p) of the time that went by since the last pause, after each
 *   timeslice.
 * - A dirty limit: at the end of each round of the dirty ring (it is full, or a second is over) a pause that makes the
 *   round as long as its pages take at the limit.
 */
export class VcpuBrake {
  readonly #throttle: VcpuThrottle;
  readonly #vcpu: number;
  readonly #now: () => number;
  readonly #ring: DirtyRing;
  #sliceStartMs = 0;
  #roundStartMs = 0;
  #periodStartMs = 0;
  #periodStartPages = 0;
  /** Without those in the ring now. */
  #ringPages: number;
  #markedPages: number;

  /** @param pageCount `wrote` is told pages 0 to `pageCount - 1` */
  constructor(
    throttle: VcpuThrottle,
    vcpu: number,
    pageCount: number,
    now: () => number = () => performance.now(),
  ) {
    this.#throttle = throttle;
    this.#vcpu = vcpu;
    this.#now = now;
    this.#ring = new DirtyRing(pageCount);
    this.#ringPages = throttle.ringPages(vcpu);
    this.#markedPages = throttle.markedPages(vcpu);
  }

  /** The vCPU begins to run: the time until now does not count. */
  begin(): void {
    const now = this.#now();
    this.#ringPages += this.#ring.length;
    this.#ring.empty();
    this.#sliceStartMs = now;
    this.#roundStartMs = now;
    this.#periodStartMs = now;
    this.#periodStartPages = this.#ringPages;
  }

  /** The vCPU stops running: it dirties nothing. */
  end(): void {
    this.#throttle.setDirtyRate(this.#vcpu, 0);
    this.#throttle.setThrottledUs(this.#vcpu, 0);
  }

  /**
   * A page was written.
   * @param marked whether its bit in the dirty log was clear
   */
  wrote(page: number, marked: boolean): void {
    if (marked) this.#markedPages++;
    this.#ring.push(page);
  }

  /** To be asked between two writes, every few ms: how long the vCPU must stand still now, ms. */
  dueMs(): number {
    const now = this.#now();
    this.#throttle.report(this.#vcpu, this.#ringPages + this.#ring.length, this.#markedPages);
    this.#measure(now);
    const dueMs = Math.max(this.#ofSlice(now), this.#ofRound(now));
    if (dueMs > 0) this.#goOnAt(now + dueMs);
    return dueMs;
  }

  /**
   * Stands still as long as is due, or until the guest is told to stop or the throttle is changed. Returns whether it
   * did: this time a vCPU must not make up for.
   */
  apply(control: RunControl): boolean {
    const dueMs = this.dueMs();
    if (dueMs <= 0) return false;
    const end = this.#now() + dueMs;
    const { percentage } = this.#throttle;
    const limit = this.#throttle.dirtyLimit(this.#vcpu);
    while (control.mayRun()) {
      const leftMs = end - this.#now();
      if (leftMs <= 0) break;
      control.sleepWhileRunning(Math.min(leftMs, WATCH_MS));
      if (this.#throttle.percentage !== percentage || this.#throttle.dirtyLimit(this.#vcpu) !== limit) break;
    }
    this.#goOnAt(this.#now());
    return true;
  }

  #goOnAt(ms: number): void {
    this.#sliceStartMs = ms;
    if (this.#ring.length === 0) this.#roundStartMs = ms;
  }

  #measure(now: number): void {
    const elapsedMs = now - this.#periodStartMs;
    if (elapsedMs < this.#throttle.periodMs) return;
    const pages = this.#ringPages + this.#ring.length;
    const mib = ((pages - this.#periodStartPages) * TARGET_PAGE_BYTES) / 2 ** 20;
    this.#throttle.setDirtyRate(this.#vcpu, Math.round((mib * 1000) / elapsedMs));
    this.#periodStartMs = now;
    this.#periodStartPages = pages;
  }

  #ofSlice(now: number): number {
    const ranMs = now - this.#sliceStartMs;
    if (ranMs < TIMESLICE_MS) return 0;
    this.#sliceStartMs = now;
    const { percentage } = this.#throttle;
    // A thread that had to wait for a processor has not run all of the time.
    return (Math.min(ranMs, 2 * TIMESLICE_MS) * percentage) / (100 - percentage);
  }

  #ofRound(now: number): number {
    const ranMs = now - this.#roundStartMs;
    if (!this.#ring.isFull && ranMs < ROUND_MS) return 0;
    const limit = this.#throttle.dirtyLimit(this.#vcpu);
    const limitMs = limit === 0 ? 0 : (this.#ring.length * TARGET_PAGE_BYTES * 1000) / (limit * 2 ** 20);
    const pauseMs = Math.max(0, Math.min(limitMs, ranMs / LEAST_SHARE) - ranMs);
    this.#throttle.setThrottledUs(this.#vcpu, Math.round(pauseMs * 1000));
    this.#ringPages += this.#ring.length;
    this.#ring.empty();
    this.#roundStartMs = now;
    return pauseMs;
  }
}
