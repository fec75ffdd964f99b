import type { LinkPrice } from '../codecs/channel-link.ts';

/** A position is kept in steps of 2^-16. */
const STEPS = 1 << 16;
const UNKNOWN = 0;

/** A price in shared memory: channels that move it at the same time all count. */
export class SharedPrice implements LinkPrice {
  readonly #words: Int32Array;
  readonly #index: number;

  constructor(words: Int32Array, index: number) {
    this.#words = words;
    this.#index = index;
  }

  get position(): number | undefined {
    const steps = Atomics.load(this.#words, this.#index);
    return steps === UNKNOWN ? undefined : steps / STEPS;
  }

  set position(position: number) {
    Atomics.store(this.#words, this.#index, Math.round(position * STEPS) || 1);
  }

  move(by: number): void {
    Atomics.add(this.#words, this.#index, Math.round(by * STEPS));
  }
}
