/**
 * Whether the guest has changed hands, in shared memory: what the application's thread must know of a
 * coordinator that was killed or died. One Int32: 0 not yet, 1 it is the destination's.
 */
export class HandOver {
  readonly buffer: SharedArrayBuffer;
  readonly #word: Int32Array;

  constructor(buffer = new SharedArrayBuffer(4)) {
    this.buffer = buffer;
    this.#word = new Int32Array(buffer);
  }

  get done(): boolean {
    return Atomics.load(this.#word, 0) === 1;
  }

  set(): void {
    Atomics.store(this.#word, 0, 1);
  }
}
