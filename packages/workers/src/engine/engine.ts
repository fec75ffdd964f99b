import { MigrationError } from '@pageferry/core';
import { type CodecBackend, type MultifdCompression, resolveMigrateOptions } from '@pageferry/core/control';
import { firstMessage } from './comlink.ts';
import { CoordinatorThread } from './coordinator-thread.ts';
import type { Preparation } from './protocol.ts';

/** What the migration will be that an engine is prepared for; defaults as for `migrate` and `receive`. */
export interface EngineOptions {
  readonly direction: 'outgoing' | 'incoming';
  readonly multifd?: boolean | undefined;
  readonly multifdChannels?: number | undefined;
  readonly multifdCompression?: MultifdCompression | undefined;
  readonly multifdBackend?: CodecBackend | undefined;
  readonly mappedRam?: boolean | undefined;
}

/** Threads that wait, warm, for one migration. */
export interface Engine {
  /** Resolves when every thread has loaded what it needs. Rejects with a MigrationError. */
  readonly ready: Promise<void>;
  /** Ends the threads of an engine that is not needed after all. */
  close(): Promise<void>;
}

/**
 * Starts the threads of a migration before it is asked for, so that `migrate` or `receive`, given the engine,
 * begins within milliseconds: while the guest is still being made, say. An engine serves one migration with the
 * settings that it was prepared for.
 *
 * @throws MigrationError `bad-option` for settings that cannot be
 */
export function prepareEngine(options: EngineOptions): Engine {
  return new PreparedEngine(options);
}

class PreparedEngine implements Engine {
  readonly ready: Promise<void>;
  readonly #preparation: Preparation;
  #thread: CoordinatorThread | undefined;

  constructor(options: EngineOptions) {
    this.#preparation = preparation(options);
    this.#thread = new CoordinatorThread();
    const died = this.#thread.died.then((cause) => {
      throw new MigrationError('worker-failed', `the coordinator thread died: ${cause}`);
    });
    const prepared = Promise.all([this.#thread.api.prepare(this.#preparation), firstMessage()]);
    this.ready = Promise.race([prepared.then(() => {}), died]);
    this.ready.catch(() => {});
  }

  async close(): Promise<void> {
    await this.#thread?.terminate();
    this.#thread = undefined;
  }

  /** @throws MigrationError `bad-option` when the engine is used, or prepared for something else */
  take(wanted: Preparation): CoordinatorThread {
    const thread = this.#thread;
    if (thread === undefined) {
      throw new MigrationError('bad-option', 'the engine is used or closed', { expected: 'a new one' });
    }
    for (const name of ['direction', 'channels', 'compression', 'backend', 'mappedRam'] as const) {
      if (wanted[name] === this.#preparation[name]) continue;
      throw new MigrationError('bad-option', `the engine was prepared for another ${name}`, {
        found: String(wanted[name]),
        expected: String(this.#preparation[name]),
      });
    }
    this.#thread = undefined;
    return thread;
  }
}

function preparation({ direction, ...options }: EngineOptions): Preparation {
  const { multifd, multifdChannels, multifdCompression, multifdBackend, multifdZstdLevel, mappedRam } =
    resolveMigrateOptions(options);
  return {
    direction,
    channels: multifd ? multifdChannels : mappedRam ? 1 : 0,
    mappedRam,
    compression: multifd ? multifdCompression : 'none',
    level: multifdZstdLevel,
    backend: multifd ? multifdBackend : undefined,
  };
}

/** The thread for a migration: the engine's, or a new one. @throws MigrationError `bad-option` */
export function coordinatorThread(engine: Engine | undefined, options: EngineOptions): CoordinatorThread {
  if (engine === undefined) return new CoordinatorThread();
  if (engine instanceof PreparedEngine) return engine.take(preparation(options));
  throw new MigrationError('bad-option', 'engine is not one of prepareEngine');
}
