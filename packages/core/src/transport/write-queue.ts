/**
 * Hands a batch to the kernel and calls `done` once, later or at once. The batch is not changed afterwards.
 */
export type Sink = (batch: readonly Uint8Array[], done: (error?: Error | null) => void) => void;

/** Above this, `write` asks the caller to wait. */
export const HIGH_WATER_BYTES = 1024 * 1024;

/** Small enough that the count of written bytes moves steadily on a slow link, large enough to cost nothing. */
const BATCH_BYTES = 512 * 1024;

/**
 * A peer that takes everything at once would keep writer and queue busy without ever coming back to the event
 * loop, where cancelling, timers and the peer's answers are: it gets a turn after so many bytes.
 */
const BURST_BYTES = 4 * 1024 * 1024;

interface Waiter {
  /** Resolved when this many bytes were written since the beginning. */
  readonly target: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * The writing half of a channel: keeps references to what is written and hands it on in batches, one at a
 * time. What is written in one go of the caller becomes one vectored write.
 */
export class WriteQueue {
  readonly #sink: Sink;
  /** Written by the caller, not yet in a batch: [#next, length). */
  #pending: Uint8Array[] = [];
  #next = 0;
  #acceptedBytes = 0;
  #writtenBytes = 0;
  /** A batch is with the sink, or about to be made. */
  #busy = false;
  #burstBytes = 0;
  #failure: Error | undefined;
  #waiters: Waiter[] = [];

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  get queuedBytes(): number {
    return this.#acceptedBytes - this.#writtenBytes;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#failure !== undefined) return false;
    if (bytes.byteLength > 0) {
      this.#pending.push(bytes);
      this.#acceptedBytes += bytes.byteLength;
      if (!this.#busy) {
        this.#busy = true;
        queueMicrotask(() => this.#run());
      }
    }
    return this.queuedBytes < HIGH_WATER_BYTES;
  }

  /** Counts bytes that went past the queue while it was empty. */
  count(bytes: number): void {
    this.#acceptedBytes += bytes;
    this.#writtenBytes += bytes;
  }

  drained(): Promise<void> {
    return this.#until(this.#acceptedBytes - HIGH_WATER_BYTES + 1);
  }

  flushed(): Promise<void> {
    return this.#until(this.#acceptedBytes);
  }

  /** Forgets what is queued; every waiter rejects. */
  fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#pending = [];
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }

  #until(target: number): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#writtenBytes >= target) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiters.push({ target, resolve, reject }));
  }

  #run(): void {
    while (this.#failure === undefined && this.#pending.length > 0) {
      if (this.#burstBytes >= BURST_BYTES) {
        this.#burstBytes = 0;
        setImmediate(() => this.#run());
        return;
      }
      const { batch, batchBytes } = this.#take();
      let within = true;
      let finished = false;
      this.#sink(batch, (error) => {
        // The sink's owner turns its error into the channel's failure.
        if (error || this.#failure !== undefined) return;
        finished = true;
        this.#writtenBytes += batchBytes;
        this.#wake();
        if (within) return;
        this.#burstBytes = 0;
        this.#run();
      });
      within = false;
      if (!finished) return;
      this.#burstBytes += batchBytes;
    }
    this.#busy = false;
  }

  #take(): { batch: Uint8Array[]; batchBytes: number } {
    const batch: Uint8Array[] = [];
    let batchBytes = 0;
    while (this.#next < this.#pending.length && batchBytes < BATCH_BYTES) {
      const piece = this.#pending[this.#next]!;
      const room = BATCH_BYTES - batchBytes;
      if (piece.byteLength > room) {
        // The rest stays at the head: a piece of any size is written in steps.
        batch.push(piece.subarray(0, room));
        this.#pending[this.#next] = piece.subarray(room);
        batchBytes += room;
      } else {
        batch.push(piece);
        batchBytes += piece.byteLength;
        this.#next++;
      }
    }
    if (this.#next === this.#pending.length) {
      this.#pending = [];
      this.#next = 0;
    }
    return { batch, batchBytes };
  }

  #wake(): void {
    if (this.#waiters.length === 0) return;
    const due = this.#waiters.filter((waiter) => waiter.target <= this.#writtenBytes);
    if (due.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.target > this.#writtenBytes);
    for (const waiter of due) waiter.resolve();
  }
}
