/**
 * What the application's thread must know of a coordinator that was killed or died, in shared memory.
 *
 * Layout, Int32 words:
 *   0   1: the guest is the destination's
 *   1   1: the guest ran, and the migration has stopped it
 */
const DONE = 0;
const STOPPED = 1;

export class HandOver {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(buffer = new SharedArrayBuffer(8)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
  }

  get done(): boolean {
    return Atomics.load(this.#words, DONE) === 1;
  }

  set(): void {
    Atomics.store(this.#words, DONE, 1);
  }

  /** Whether a guest that is not handed over has to be started again. */
  get stopped(): boolean {
    return Atomics.load(this.#words, STOPPED) === 1;
  }

  set stopped(value: boolean) {
    Atomics.store(this.#words, STOPPED, value ? 1 : 0);
  }
}
