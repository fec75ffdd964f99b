import { availableParallelism } from 'node:os';
import type { MigrationError } from '@pageferry/core';
import { Piscina } from 'piscina';
import { taskError } from '../task-error.ts';

/** How long the end of the threads is waited for: a batch takes a few ms. */
const END_LIMIT_MS = 300;
/** Workers allocate little: a small young generation bounds what they hold until it is collected. */
const MAX_YOUNG_GENERATION_MB = 4;

export interface SlotPoolOptions {
  /** The workers' module; its task is given the number of a slot. */
  readonly entry: URL;
  /** Slots, and threads as far as there are processors for them. */
  readonly threads: number;
  readonly slotBytes: number;
  /** For errors: `compress thread`. */
  readonly what: string;
}

/** What the workers find in `workerData`, beside what `start` adds. */
export interface SlotPoolData {
  readonly memory: SharedArrayBuffer;
}

/**
 * Threads that work on slots of shared memory, one short Piscina task per filled slot: only the slot's number goes
 * to the task, and nothing comes back. More threads than processors would bring nothing, and each costs memory: the
 * slots beyond them wait their turn.
 */
export class SlotPool {
  readonly memory: SharedArrayBuffer;
  /** Rejects with the first error; never resolves. */
  readonly failed: Promise<never>;
  readonly #options: SlotPoolOptions;
  readonly #free: number[];
  #pool: Piscina | undefined;
  #killing: Promise<void> | undefined;
  #running = 0;
  #change = Promise.withResolvers<void>();
  #error: MigrationError | undefined;
  readonly #reject: (error: MigrationError) => void;

  constructor(options: SlotPoolOptions) {
    this.#options = options;
    // Taken from the end: the last slots stay untouched, and without memory behind them, while few are used.
    this.#free = Array.from({ length: options.threads }, (_, slot) => options.threads - 1 - slot);
    this.memory = new SharedArrayBuffer(options.threads * options.slotBytes);
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.failed = promise;
    this.#reject = reject;
  }

  /**
   * Starts the threads. Resolves when the first can work.
   * @param data what the workers need, beside the slots
   * @throws the first error, also that of an `end` before
   */
  async start(data: object): Promise<void> {
    // Ended already: nobody would end them again.
    if (this.#error !== undefined) throw this.#error;
    const { entry } = this.#options;
    const threads = Math.min(this.#options.threads, availableParallelism());
    const workerData: SlotPoolData = { ...data, memory: this.memory };
    this.#pool = new Piscina({
      filename: entry.href,
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: 1,
      recordTiming: false,
      workerData,
      resourceLimits: { maxYoungGenerationSizeMb: MAX_YOUNG_GENERATION_MB },
    });
    this.#pool.on('error', (error) => this.#fail(error));
    await this.#pool.run(undefined, { name: 'ready' }).catch((error) => this.#fail(error));
    if (this.#error !== undefined) throw this.#error;
  }

  /** A slot to fill, which is the caller's until `run` or `release`; undefined: none is free. */
  take(): number | undefined {
    return this.#free.pop();
  }

  release(slot: number): void {
    this.#free.push(slot);
  }

  /** Has a thread work on a slot. @param done called when it has; the slot is the caller's again */
  run(slot: number, done: () => void): void {
    this.#running++;
    this.#pool!.run(slot)
      .then(
        () => done(),
        (error) => this.#fail(error),
      )
      .finally(() => {
        this.#running--;
        this.#ring();
      });
  }

  /** Resolves when a slot is done with, if one is being worked on. @throws the first error */
  async changed(): Promise<void> {
    if (this.#error === undefined && this.#running > 0) await this.#change.promise;
    if (this.#error !== undefined) throw this.#error;
  }

  /** Ends the threads. Whoever waits gets `error`, if there is one. Never rejects. */
  async end(error?: Error): Promise<void> {
    if (error !== undefined) this.#fail(error);
    if (this.#pool === undefined) return;
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, END_LIMIT_MS);
    // Only once: see ChannelPool.
    this.#killing ??= this.#pool.destroy().catch(() => {});
    await Promise.race([this.#killing, late.promise]);
    clearTimeout(timer);
  }

  #fail(error: unknown): void {
    if (this.#error !== undefined) return;
    this.#error = taskError(error, { what: this.#options.what });
    this.#reject(this.#error);
    this.#ring();
  }

  #ring(): void {
    const { resolve } = this.#change;
    this.#change = Promise.withResolvers<void>();
    resolve();
  }
}
