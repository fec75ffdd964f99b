import { MigrationError } from '@pageferry/core';
import type { MigrationResult, MigrationStatus, Progress } from '@pageferry/core/control';
import { proxy, type Remote } from 'comlink';
import type { CoordinatorThread } from './coordinator-thread.ts';
import { HandOver } from './hand-over.ts';
import { ProgressFeed } from './progress-feed.ts';
import type { CoordinatorApi, Events } from './protocol.ts';

/** A migration that is under way, seen from the application. */
export interface Migration {
  /** How it ended. Rejects with a MigrationError. */
  readonly result: Promise<MigrationResult>;
  /** What it does; ends when the migration ends. */
  readonly progress: AsyncIterable<Progress>;
  readonly status: MigrationStatus;
  /** Ends it with `cancelled`, unless the guest has already been handed over. */
  cancel(): void;
}

/** How long a coordinator may take to cancel before its thread is killed, ms. */
const CANCEL_LIMIT_MS = 900;

type Call = (
  api: Remote<CoordinatorApi>,
  handOver: SharedArrayBuffer,
  events: Events,
) => Promise<MigrationResult>;

interface Hooks {
  readonly signal?: AbortSignal | undefined;
  readonly listening?: (uri: string) => void;
  readonly orphaned: () => Promise<void>;
}

/** One coordinator thread, for one migration. */
export class Coordinator implements Migration {
  readonly result: Promise<MigrationResult>;
  readonly progress = new ProgressFeed();
  readonly #thread: CoordinatorThread;
  readonly #died = Promise.withResolvers<never>();
  status: MigrationStatus = 'none';
  readonly #handOver = new HandOver();
  #settled = false;
  /** The thread ended by itself, or has to be killed. */
  #dead = false;
  #cancelTimer: NodeJS.Timeout | undefined;

  /**
   * @param thread one that has no migration yet
   * @param call what the coordinator is to do
   * @param listening told the address of a destination
   * @param orphaned puts the guest right when the thread died without having done so
   */
  constructor(thread: CoordinatorThread, call: Call, hooks: Hooks) {
    this.#thread = thread;
    this.#died.promise.catch(() => {});
    thread.died.then((cause) => {
      const what = this.#handOver.done ? ' after the guest was handed over' : '';
      this.#die(new MigrationError('worker-failed', `the coordinator thread died${what}: ${cause}`));
    });
    this.result = this.#run(call, hooks);
    this.result.catch(() => {});
  }

  cancel(): void {
    if (this.#settled || this.#handOver.done || this.#cancelTimer !== undefined) return;
    this.#cancelTimer = setTimeout(() => {
      // A guest that changed hands meanwhile is past cancelling: what is left ends by itself.
      if (this.#handOver.done) return;
      this.#die(new MigrationError('cancelled', 'the migration was cancelled; its thread had to be killed'));
    }, CANCEL_LIMIT_MS);
    // The call's own promise is not needed: the migration's result tells what came of it.
    Promise.resolve(this.#thread.api.cancel()).catch(() => {});
  }

  #die(error: MigrationError): void {
    if (this.#settled) return;
    this.#dead = true;
    this.#died.reject(error);
  }

  async #run(call: Call, hooks: Hooks): Promise<MigrationResult> {
    const abort = () => this.cancel();
    hooks.signal?.addEventListener('abort', abort, { once: true });
    if (hooks.signal?.aborted) abort();
    const events: Events = {
      status: (status) => {
        this.status = status;
      },
      progress: (progress) => this.progress.push(progress),
      listening: (uri) => hooks.listening?.(uri),
    };
    try {
      return await Promise.race([
        call(this.#thread.api, this.#handOver.buffer, proxy(events)),
        this.#died.promise,
      ]);
    } catch (error) {
      if (this.#dead) {
        await this.#thread.terminate();
        if (!this.#handOver.done) await hooks.orphaned();
      }
      throw MigrationError.from(error, 'internal');
    } finally {
      this.#settled = true;
      clearTimeout(this.#cancelTimer);
      hooks.signal?.removeEventListener('abort', abort);
      await this.#thread.terminate();
      this.progress.end();
    }
  }
}
