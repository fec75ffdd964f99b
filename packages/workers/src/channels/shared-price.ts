import type { LinkPrice } from '../codecs/channel-link.ts';

/** A position is kept in steps of 2^-16, from a number on that no sum of them leads back to 0. */
const STEPS = 1 << 16;
const ORIGIN = 1 << 30;
const UNKNOWN = 0;

/** A price in shared memory. Moves at the same time all count; one at the time of a setting may be lost. */
export class SharedPrice implements LinkPrice {
  readonly #words: Int32Array;
  readonly #index: number;

  constructor(words: Int32Array, index: number) {
    this.#words = words;
    this.#index = index;
  }

  get position(): number | undefined {
    const word = Atomics.load(this.#words, this.#index);
    return word === UNKNOWN ? undefined : (word - ORIGIN) / STEPS;
  }

  set position(position: number) {
    Atomics.store(this.#words, this.#index, ORIGIN + Math.round(position * STEPS));
  }

  move(by: number): void {
    Atomics.add(this.#words, this.#index, Math.round(by * STEPS));
  }
}
