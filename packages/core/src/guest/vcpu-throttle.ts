import { checkInteger } from '../check-integer.ts';

/**
 * What slows a guest's vCPUs down, and what tells how fast each dirties memory: shared memory between whoever
 * controls them and the vCPUs' own threads (`VcpuBrake`).
 *
 * Layout, Int32 words:
 *   0        share of the time that every vCPU stands still, percent; 0: none                  controller
 *   1        number of vCPUs
 *   2        over how long a vCPU measures its rate, ms                                        controller
 *   16+16*i  of vCPU i, a cache line each:
 *     +0     most that it may dirty, MiB/s; 0: no limit                                        controller
 *     +1     what it dirtied in its last period, MiB/s                                         vCPU
 *     +2     pages that it has dirtied, each once per round of its ring; wraps at 2^32         vCPU
 *     +3     pages that it has newly marked in the dirty log; wraps at 2^32                    vCPU
 *     +4     how long it stood still at the end of its last round because of its limit, µs     vCPU
 */
const PERCENTAGE = 0;
const VCPU_COUNT = 1;
const PERIOD = 2;
const FIRST_VCPU = 16;
const VCPU_STRIDE = 16;
const LIMIT = 0;
const RATE = 1;
const RING_PAGES = 2;
const MARKED_PAGES = 3;
const THROTTLED = 4;

const DEFAULT_PERIOD_MS = 1000;

/** A vCPU's limit as `query-vcpu-dirty-limit` shows it; both rates in MiB/s. */
export interface VcpuDirtyLimit {
  readonly cpuIndex: number;
  readonly limitRate: number;
  readonly currentRate: number;
}

export class VcpuThrottle {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
  }

  /** For `vcpuCount` vCPUs that run freely. */
  static create(vcpuCount: number): VcpuThrottle {
    const throttle = new VcpuThrottle(new SharedArrayBuffer((FIRST_VCPU + VCPU_STRIDE * vcpuCount) * 4));
    throttle.#words[VCPU_COUNT] = vcpuCount;
    throttle.#words[PERIOD] = DEFAULT_PERIOD_MS;
    return throttle;
  }

  get vcpuCount(): number {
    return this.#words[VCPU_COUNT]!;
  }

  /** Share of the time that every vCPU stands still, 0 to 99 percent (`cpu-throttle-percentage`). */
  get percentage(): number {
    return Atomics.load(this.#words, PERCENTAGE);
  }

  set percentage(value: number) {
    checkInteger('cpu-throttle-percentage', value, 0, 99);
    Atomics.store(this.#words, PERCENTAGE, value);
  }

  /** Over how long each vCPU measures its rate, 1 to 1000 ms (`x-vcpu-dirty-limit-period`). */
  get periodMs(): number {
    return Atomics.load(this.#words, PERIOD);
  }

  set periodMs(value: number) {
    checkInteger('x-vcpu-dirty-limit-period', value, 1, 1000);
    Atomics.store(this.#words, PERIOD, value);
  }

  /**
   * Limits what a vCPU, or each of them, may dirty; 0 takes the limit away.
   * @throws MigrationError `bad-option` when there is no such vCPU
   */
  limitDirtyRate(mibPerSecond: number, cpuIndex?: number): void {
    checkInteger('dirty-rate', mibPerSecond, 0, Number.MAX_SAFE_INTEGER);
    const limit = Math.min(mibPerSecond, 2 ** 31 - 1);
    if (cpuIndex !== undefined) checkInteger('cpu-index', cpuIndex, 0, this.vcpuCount - 1);
    for (let vcpu = 0; vcpu < this.vcpuCount; vcpu++) {
      if (cpuIndex === undefined || vcpu === cpuIndex) this.#store(vcpu, LIMIT, limit);
    }
  }

  /** The vCPUs that have a limit. */
  dirtyLimits(): VcpuDirtyLimit[] {
    const limits: VcpuDirtyLimit[] = [];
    for (let cpuIndex = 0; cpuIndex < this.vcpuCount; cpuIndex++) {
      const limitRate = this.dirtyLimit(cpuIndex);
      if (limitRate > 0) limits.push({ cpuIndex, limitRate, currentRate: this.dirtyRate(cpuIndex) });
    }
    return limits;
  }

  /** MiB/s; 0: none. */
  dirtyLimit(vcpu: number): number {
    return this.#load(vcpu, LIMIT);
  }

  /** What a vCPU dirtied in its last period, MiB/s. */
  dirtyRate(vcpu: number): number {
    return this.#load(vcpu, RATE);
  }

  /** Pages that a vCPU has dirtied since it was made, modulo 2^32; one that it wrote often in a short time once. */
  ringPages(vcpu: number): number {
    return this.#load(vcpu, RING_PAGES) >>> 0;
  }

  /** Pages that a vCPU has marked in the dirty log and that were not marked there, modulo 2^32. */
  markedPages(vcpu: number): number {
    return this.#load(vcpu, MARKED_PAGES) >>> 0;
  }

  /** How long a vCPU stood still at the end of its last round because of its limit, µs. */
  throttledUs(vcpu: number): number {
    return this.#load(vcpu, THROTTLED);
  }

  /** vCPU side: what it has measured. */
  report(vcpu: number, ringPages: number, markedPages: number): void {
    this.#store(vcpu, RING_PAGES, ringPages | 0);
    this.#store(vcpu, MARKED_PAGES, markedPages | 0);
  }

  /** vCPU side. */
  setDirtyRate(vcpu: number, mibPerSecond: number): void {
    this.#store(vcpu, RATE, mibPerSecond);
  }

  /** vCPU side. */
  setThrottledUs(vcpu: number, us: number): void {
    this.#store(vcpu, THROTTLED, us);
  }

  #load(vcpu: number, word: number): number {
    return Atomics.load(this.#words, FIRST_VCPU + VCPU_STRIDE * vcpu + word);
  }

  #store(vcpu: number, word: number, value: number): void {
    Atomics.store(this.#words, FIRST_VCPU + VCPU_STRIDE * vcpu + word, value);
  }
}
