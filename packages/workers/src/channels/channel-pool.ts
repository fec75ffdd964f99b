import type { ResourceLimits } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { whileNoneLoads } from '../system/native-load.ts';
import { taskError } from '../task-error.ts';
import { PoolWords } from './pool-words.ts';

/** How long a channel may take to end by itself after it was told to, before its thread is killed. */
const CANCEL_LIMIT_MS = 500;
/** How long the end of the threads is waited for: a thread inside a native call ends after it. */
const KILL_LIMIT_MS = 300;
/** Workers allocate little: a small young generation bounds what they hold until it is collected. */
const MAX_YOUNG_GENERATION_MB = 4;

/** Page channels whose threads can be started before there is a connection. */
export interface WarmUp {
  warmUp(): void;
}

/**
 * The channel workers of one side: a thread per channel, each with one task that lasts as long as its channel.
 * Keeps the first error of any of them; everything that waits on this side wakes and rejects with it.
 */
export class ChannelPool {
  readonly words = new PoolWords();
  /** Rejects with the first error; never resolves. */
  readonly failed: Promise<never>;
  readonly #entry: URL;
  readonly #channels: number;
  readonly #limits: ResourceLimits;
  #pool: Piscina | undefined;
  readonly #tasks: Promise<void>[] = [];
  readonly #reject: (error: Error) => void;
  #error: Error | undefined;
  #aborting: Promise<void> | undefined;
  #killing: Promise<void> | undefined;
  /** The threads are another pool's, which ends them. */
  #borrowed = false;

  /** @param limits of each thread's heap, beside the small young generation */
  constructor(entry: URL, channels: number, limits: ResourceLimits = {}) {
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.failed = promise;
    this.#reject = reject;
    this.#entry = entry;
    this.#channels = channels;
    this.#limits = limits;
  }

  /** The first error, once there is one. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Starts all threads, so that the first task finds them ready. */
  warmUp(): void {
    if (this.#error === undefined) this.#pool ??= this.#start();
  }

  /**
   * Starts all threads and has each load what its channel will need.
   *
   * @param task what the entry's `warm` is given, beside the barrier that holds each thread to one task
   */
  async ready(task: object): Promise<void> {
    this.#pool ??= this.#start();
    const pool = this.#pool;
    const barrier = new SharedArrayBuffer(4);
    const warm = { ...task, barrier, threads: this.#channels };
    await Promise.all(Array.from({ length: this.#channels }, () => pool.run(warm, { name: 'warm' })));
  }

  /**
   * The same threads, for channels before the real ones: with words, tasks and an end of their own, which leaves
   * the threads alone.
   */
  borrow(): ChannelPool {
    const pool = new ChannelPool(this.#entry, this.#channels, this.#limits);
    pool.#pool = this.#pool ??= this.#start();
    pool.#borrowed = true;
    return pool;
  }

  /**
   * Starts a channel's task; the first starts all threads.
   *
   * @param transfer what moves to the channel's thread
   * @param ended called when the task has ended, well or not
   * @throws the error that the pool has
   */
  run(channel: string, task: object, transfer: readonly object[] = [], ended = () => {}): void {
    // A pool that was ended would start its threads anew.
    if (this.#error !== undefined) throw this.#error;
    // Piscina takes any transferable; its type knows only some.
    const options = { transferList: transfer as ArrayBuffer[] };
    this.#pool ??= this.#start();
    const life = this.#pool.run(task, options).then(
      () => {},
      (error: unknown) => this.fail(taskError(error, { channel })),
    );
    this.#tasks.push(
      life.then(() => {
        ended();
        this.words.coordinatorBell.ring();
      }),
    );
  }

  /** Takes an error of a channel; only the first counts. */
  fail(error: Error): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#reject(error);
    this.words.coordinatorBell.ring();
  }

  /** Resolves when `done` says so; it is asked after every ring of the coordinator's bell. Rejects on failure. */
  async until(done: () => boolean): Promise<void> {
    const bell = this.words.coordinatorBell;
    for (;;) {
      const seen = bell.count;
      if (this.#error !== undefined) throw this.#error;
      if (done()) return;
      await bell.changed(seen);
    }
  }

  /**
   * Waits for the end of all channels, at most `limitMs`, and ends the threads. Those with nothing left to do are not
   * waited for: their end takes milliseconds, in which the migration would seem to go on. Rejects on failure.
   */
  async finish(limitMs: number): Promise<void> {
    const ended = Promise.race([Promise.all(this.#tasks), this.failed]);
    const inTime = await settlesWithin([ended], limitMs);
    this.words.cancel();
    const end = this.#end();
    if (!inTime || this.#error !== undefined) await end;
    if (this.#error !== undefined) throw this.#error;
  }

  /** Ends all channels at once. Whoever waits gets `error`. Never rejects. */
  abort(error: Error): Promise<void> {
    this.fail(error);
    this.words.cancel();
    this.#aborting ??= this.#end();
    return this.#aborting;
  }

  async #end(): Promise<void> {
    await settlesWithin(this.#tasks, CANCEL_LIMIT_MS);
    const pool = this.#pool;
    if (this.#borrowed || pool === undefined) return;
    // Only once: a second call makes Piscina take the first one's threads for dead ones and start new ones for them.
    this.#killing ??= whileNoneLoads(() => pool.destroy());
    await settlesWithin([this.#killing], KILL_LIMIT_MS);
  }

  #start(): Piscina {
    const pool = new Piscina({
      filename: this.#entry.href,
      minThreads: this.#channels,
      maxThreads: this.#channels,
      concurrentTasksPerWorker: 1,
      // An idle worker must keep its event loop: it waits on a socket.
      atomics: 'disabled',
      recordTiming: false,
      // Descriptors of sockets come from another thread and are closed here.
      trackUnmanagedFds: false,
      resourceLimits: { maxYoungGenerationSizeMb: MAX_YOUNG_GENERATION_MB, ...this.#limits },
    });
    pool.on('error', (error: Error) => this.fail(taskError(error)));
    return pool;
  }
}

/** Whether all settle within the limit. */
async function settlesWithin(promises: readonly Promise<unknown>[], limitMs: number): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  const timer = setTimeout(() => late.resolve(false), limitMs);
  const settled = Promise.allSettled(promises).then(() => true);
  const inTime = await Promise.race([settled, late.promise]);
  clearTimeout(timer);
  return inTime;
}
