import { type Engine, type EngineOptions, prepareEngine } from '../engine/engine.ts';

/** A client that sets one thing is likely to set another: threads are started when it has been quiet for so long, ms. */
const QUIET_MS = 1000;

/**
 * Threads for the next migration, started while nobody waits for it: a migration that is asked for over QMP then
 * begins within milliseconds. One that is asked for earlier, or with other settings, starts threads of its own.
 */
export class WarmEngine {
  #timer: NodeJS.Timeout | undefined;
  #engine: Engine | undefined;
  /** What the engine is for, once its threads are ready. */
  #ready: string | undefined;
  #closed = false;

  /** Whether threads wait. */
  get isReady(): boolean {
    return this.#ready !== undefined;
  }

  /** The next migration will probably be this; undefined: there will be none. */
  expect(options: EngineOptions | undefined): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    if (options !== undefined && this.#ready === nameOf(options)) return;
    if (options === undefined) {
      void this.#drop();
      return;
    }
    this.#timer = setTimeout(() => void this.#prepare(options), QUIET_MS);
    this.#timer.unref();
  }

  /** The threads for a migration, if there are some that are ready for just that. */
  take(options: EngineOptions): Engine | undefined {
    clearTimeout(this.#timer);
    const engine = this.#ready === nameOf(options) ? this.#engine : undefined;
    if (engine === undefined) void this.#drop();
    this.#engine = undefined;
    this.#ready = undefined;
    return engine;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#drop();
  }

  async #prepare(options: EngineOptions): Promise<void> {
    await this.#drop();
    if (this.#closed) return;
    try {
      const engine = prepareEngine(options);
      this.#engine = engine;
      await engine.ready;
      if (this.#engine === engine) this.#ready = nameOf(options);
    } catch {
      // Settings that cannot be, or no threads: the migration will say.
      await this.#drop();
    }
  }

  async #drop(): Promise<void> {
    const engine = this.#engine;
    this.#engine = undefined;
    this.#ready = undefined;
    await engine?.close();
  }
}

function nameOf(options: EngineOptions): string {
  const { direction, multifd, multifdChannels, multifdCompression, multifdBackend, mappedRam } = options;
  return JSON.stringify([direction, multifd, multifdChannels, multifdCompression, multifdBackend, mappedRam]);
}
