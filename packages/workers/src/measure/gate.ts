const ARRIVED = 0;
const OPENINGS = 1;
const ABANDONED = 2;
/** How long a thread waits before it looks whether anybody still opens; only a defect makes it wait so long. */
const LOOK_AGAIN_MS = 60_000;

/**
 * Lets threads begin something at the same moment: each waits at the gate, and who opens it sees when all are there.
 * The same gate serves again and again.
 */
export class Gate {
  readonly buffer: SharedArrayBuffer;
  readonly #cells: Int32Array;

  /** @param buffer of another thread's gate, to be the same one */
  constructor(buffer = new SharedArrayBuffer(3 * Int32Array.BYTES_PER_ELEMENT)) {
    this.buffer = buffer;
    this.#cells = new Int32Array(buffer);
  }

  /** Waits, without turning the event loop, until the gate opens. Returns false when it was given up. */
  pass(): boolean {
    const cells = this.#cells;
    const openings = Atomics.load(cells, OPENINGS);
    Atomics.add(cells, ARRIVED, 1);
    Atomics.notify(cells, ARRIVED);
    while (Atomics.load(cells, OPENINGS) === openings && Atomics.load(cells, ABANDONED) === 0) {
      Atomics.wait(cells, OPENINGS, openings, LOOK_AGAIN_MS);
    }
    return Atomics.load(cells, ABANDONED) === 0;
  }

  /** Resolves when `count` threads wait; also when the gate was given up. */
  async reached(count: number): Promise<void> {
    for (;;) {
      const arrived = Atomics.load(this.#cells, ARRIVED);
      if (arrived >= count || Atomics.load(this.#cells, ABANDONED) !== 0) return;
      const change = Atomics.waitAsync(this.#cells, ARRIVED, arrived);
      if (change.async) await change.value;
    }
  }

  open(): void {
    Atomics.store(this.#cells, ARRIVED, 0);
    Atomics.add(this.#cells, OPENINGS, 1);
    Atomics.notify(this.#cells, OPENINGS);
  }

  /** Lets everybody through, now and later; `pass` tells them that it was given up. */
  abandon(): void {
    Atomics.store(this.#cells, ABANDONED, 1);
    Atomics.notify(this.#cells, OPENINGS);
    Atomics.notify(this.#cells, ARRIVED);
  }
}
