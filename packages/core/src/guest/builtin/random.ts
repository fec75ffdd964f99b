/**
 * The generator behind workload and content: xorshift128, whose state is four words of a shared Int32Array, so
 * that a vCPU goes on after the move where it stopped.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: number) {
    this.#a = mix(seed);
    this.#b = mix(seed ^ 0x51f15e5d);
    this.#c = mix(seed ^ 0x2545f491);
    // The all-zero state would repeat itself for ever.
    this.#d = mix(seed ^ 0x6c8e9cf5) | 1;
  }

  /** 32 random bits as a signed integer. */
  next(): number {
    const t = this.#a ^ (this.#a << 11);
    this.#a = this.#b;
    this.#b = this.#c;
    this.#c = this.#d;
    const last = this.#d ^ (this.#d >>> 19) ^ t ^ (t >>> 8);
    this.#d = last;
    return last;
  }

  /** Uniform in [0, limit), for a limit up to 2^32. */
  below(limit: number): number {
    return Math.floor((this.next() >>> 0) * 2 ** -32 * limit);
  }

  save(words: Int32Array, at: number): void {
    words[at] = this.#a;
    words[at + 1] = this.#b;
    words[at + 2] = this.#c;
    words[at + 3] = this.#d;
  }

  load(words: Int32Array, at: number): void {
    this.#a = words[at]!;
    this.#b = words[at + 1]!;
    this.#c = words[at + 2]!;
    this.#d = words[at + 3]!;
  }
}

/** Spreads the bits of a number over 32 bits (the finalizer of MurmurHash3). */
export function mix(value: number): number {
  let h = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
