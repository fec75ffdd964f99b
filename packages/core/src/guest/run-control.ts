/**
 * The run/stop word of a guest, in shared memory, with one acknowledgement per vCPU. Stopping a guest
 * takes as long as its slowest vCPU needs to reach its next checkpoint, and no thread's event loop.
 *
 * Layout, Int32 words:
 *   0   command: 0 stop, 1 run
 *   1   number of vCPUs
 *   16+16*i   state of vCPU i: 0 stopped, 1 running (a cache line each)
 */
const COMMAND = 0;
const VCPU_COUNT = 1;
const FIRST_VCPU = 16;
const VCPU_STRIDE = 16;

export class RunControl {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
  }

  /** A control block for `vcpuCount` stopped vCPUs. */
  static create(vcpuCount: number): RunControl {
    const control = new RunControl(new SharedArrayBuffer((FIRST_VCPU + VCPU_STRIDE * vcpuCount) * 4));
    control.#words[VCPU_COUNT] = vcpuCount;
    return control;
  }

  get vcpuCount(): number {
    return this.#words[VCPU_COUNT]!;
  }

  /** Whether the guest was told to run. */
  get running(): boolean {
    return Atomics.load(this.#words, COMMAND) === 1;
  }

  /** Lets all vCPUs run. */
  start(): void {
    Atomics.store(this.#words, COMMAND, 1);
    Atomics.notify(this.#words, COMMAND);
  }

  /** Tells all vCPUs to stop and waits until each has. Resolves to false when one has not within the limit. */
  async stop(timeoutMs = 5000): Promise<boolean> {
    Atomics.store(this.#words, COMMAND, 0);
    // Wakes the vCPUs that sleep between two writes; the others see the word at their next checkpoint.
    Atomics.notify(this.#words, COMMAND);
    const deadline = performance.now() + timeoutMs;
    for (let vcpu = 0; vcpu < this.vcpuCount; vcpu++) {
      const index = FIRST_VCPU + VCPU_STRIDE * vcpu;
      while (Atomics.load(this.#words, index) !== 0) {
        const left = deadline - performance.now();
        if (left <= 0) return false;
        const waited = Atomics.waitAsync(this.#words, index, 1, left);
        if (waited.async) await waited.value;
      }
    }
    return true;
  }

  /** vCPU side: whether to go on. Cheap enough for every write. */
  mayRun(): boolean {
    return Atomics.load(this.#words, COMMAND) === 1;
  }

  /** vCPU side: blocks the thread for `timeoutMs` (Infinity: no limit), or until the guest is told to stop. */
  sleepWhileRunning(timeoutMs: number): void {
    Atomics.wait(this.#words, COMMAND, 1, timeoutMs);
  }

  /** Counts a vCPU whose thread has ended as stopped: it will never write again, nor acknowledge. */
  retire(vcpu: number): void {
    const index = FIRST_VCPU + VCPU_STRIDE * vcpu;
    Atomics.store(this.#words, index, 0);
    Atomics.notify(this.#words, index);
  }

  /** vCPU side: acknowledges a stop and blocks the thread until the guest runs again. */
  parkUntilStarted(vcpu: number): void {
    const index = FIRST_VCPU + VCPU_STRIDE * vcpu;
    for (;;) {
      Atomics.store(this.#words, index, 0);
      Atomics.notify(this.#words, index);
      Atomics.wait(this.#words, COMMAND, 0);
      Atomics.store(this.#words, index, 1);
      // A stop between the wake and the store must see this vCPU as stopped again.
      if (this.mayRun()) return;
    }
  }
}
