import { MigrationError } from '@pageferry/core';
import {
  emptyRamStats,
  isRunning,
  type LiveParameters,
  type MigrationEvent,
  type MigrationResult,
  type MigrationStatus,
  type Progress,
} from '@pageferry/core/control';
import { proxy, type Remote } from 'comlink';
import type { CoordinatorThread } from './coordinator-thread.ts';
import { HandOver } from './hand-over.ts';
import { ProgressFeed } from './progress-feed.ts';
import type { CoordinatorApi, Events } from './protocol.ts';

/** A migration that is under way, seen from the application. */
export interface Migration {
  /** How it ended. Rejects with a MigrationError; one that could not even begin is in state `none` then. */
  readonly result: Promise<MigrationResult>;
  /** What it does; ends when the migration ends. */
  readonly progress: AsyncIterable<Progress>;
  readonly status: MigrationStatus;
  /** Ends it with `cancelled`, unless the guest has already been handed over. */
  cancel(): void;
  /** What it does now; of one that is over, how it ended. Never rejects. */
  query(): Promise<Progress>;
  /**
   * Changes options of a source while it runs; they take effect at once.
   * @throws MigrationError (as a rejection) `bad-option` for one that cannot be changed, or to a value that is
   * not allowed; `bad-state` for a destination, and when it is over
   */
  setParameters(changes: LiveParameters): Promise<void>;
  /**
   * Goes on from `pre-switchover`, where a migration with `pauseBeforeSwitchover` waits.
   * @throws MigrationError (as a rejection) `bad-state` in any other state
   */
  continue(): Promise<void>;
}

/** How long a coordinator may take to cancel before its thread is killed, ms. */
const CANCEL_LIMIT_MS = 900;

type Call = (
  api: Remote<CoordinatorApi>,
  handOver: SharedArrayBuffer,
  events: Events,
) => Promise<MigrationResult>;

interface Hooks {
  readonly role: Progress['role'];
  readonly signal?: AbortSignal | undefined;
  /** Told each event, in order. */
  readonly onEvent?: ((event: MigrationEvent) => void) | undefined;
  readonly listening?: (uri: string) => void;
  /** Puts the guest right when the thread died without having done so; resolves to whether it was started. */
  readonly orphaned: (handOver: HandOver) => Promise<boolean>;
}

/** One coordinator thread, for one migration. */
export class Coordinator implements Migration {
  readonly result: Promise<MigrationResult>;
  readonly progress = new ProgressFeed();
  readonly #thread: CoordinatorThread;
  readonly #hooks: Hooks;
  readonly #died = Promise.withResolvers<never>();
  status: MigrationStatus = 'none';
  readonly #handOver = new HandOver();
  readonly #over = Promise.withResolvers<void>();
  #settled = false;
  #latest: Progress;
  /** The thread ended by itself, or has to be killed. */
  #dead = false;
  #cancelTimer: NodeJS.Timeout | undefined;

  /**
   * @param thread one that has no migration yet
   * @param call what the coordinator is to do
   */
  constructor(thread: CoordinatorThread, call: Call, hooks: Hooks) {
    this.#thread = thread;
    this.#hooks = hooks;
    this.#latest = { status: 'none', role: hooks.role, elapsedMs: 0, ram: emptyRamStats(), channels: [] };
    this.#died.promise.catch(() => {});
    thread.died.then((cause) => {
      const what = this.#handOver.done ? ' after the guest was handed over' : '';
      this.#die(new MigrationError('worker-failed', `the coordinator thread died${what}: ${cause}`));
    });
    this.result = this.#run(call);
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

  async query(): Promise<Progress> {
    if (this.#settled) return this.#latest;
    const now = Promise.resolve(this.#thread.api.query()).catch(() => undefined);
    return (await Promise.race([now, this.#over.promise])) ?? this.#latest;
  }

  setParameters(changes: LiveParameters): Promise<void> {
    return this.#ask('setting parameters', (api) => api.setParameters(changes));
  }

  continue(): Promise<void> {
    return this.#ask('migrate-continue', (api) => api.continue());
  }

  /** A wish that a thread which is gone would leave without an answer. */
  async #ask(what: string, wish: (api: Remote<CoordinatorApi>) => Promise<void>): Promise<void> {
    const late = () => {
      throw new MigrationError('bad-state', `${what} is not possible now`, { found: 'it is over' });
    };
    if (this.#settled) late();
    await Promise.race([wish(this.#thread.api), this.#over.promise.then(late)]);
  }

  #take(event: MigrationEvent): void {
    if (this.#settled) return;
    if (event.event === 'MIGRATION') this.status = event.data.status;
    try {
      this.#hooks.onEvent?.(event);
    } catch (error) {
      // A defect of the listener is the application's, not the migration's.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  /** The thread is gone without having said so: what it would have said. */
  #tellDeath(error: MigrationError, resumed: boolean): void {
    if (isRunning(this.status)) {
      const status = error.code === 'cancelled' ? 'cancelled' : 'failed';
      this.#take({ event: 'MIGRATION', data: { status } });
    }
    if (resumed) this.#take({ event: 'RESUME' });
    const errorDesc = error.code === 'cancelled' ? {} : { errorDesc: error.message };
    this.#latest = { ...this.#latest, status: this.status, ...errorDesc };
  }

  #die(error: MigrationError): void {
    if (this.#settled) return;
    this.#dead = true;
    this.#died.reject(error);
  }

  async #run(call: Call): Promise<MigrationResult> {
    const hooks = this.#hooks;
    const abort = () => this.cancel();
    hooks.signal?.addEventListener('abort', abort, { once: true });
    if (hooks.signal?.aborted) abort();
    const events: Events = {
      event: (event) => this.#take(event),
      progress: (progress) => {
        this.#latest = progress;
        this.progress.push(progress);
      },
      listening: (uri) => hooks.listening?.(uri),
    };
    let failed = false;
    try {
      return await Promise.race([
        call(this.#thread.api, this.#handOver.buffer, proxy(events)),
        this.#died.promise,
      ]);
    } catch (thrown) {
      failed = true;
      const error = MigrationError.from(thrown, 'internal');
      if (this.#dead) {
        await this.#thread.terminate();
        let resumed = false;
        try {
          resumed = !this.#handOver.done && (await hooks.orphaned(this.#handOver));
        } catch (trouble) {
          error.message += `; the guest stays as it is: ${trouble instanceof Error ? trouble.message : trouble}`;
        }
        this.#tellDeath(error, resumed);
      }
      throw error;
    } finally {
      this.#settled = true;
      this.#over.resolve();
      clearTimeout(this.#cancelTimer);
      hooks.signal?.removeEventListener('abort', abort);
      // After a success nothing waits for its end, which takes as long as a short migration's last pages.
      const ended = this.#thread.terminate().catch(() => {});
      if (failed) await ended;
      this.progress.end();
    }
  }
}
