import type { MigrationEvent } from '../control/events.ts';
import type { ResolvedReceiveOptions } from '../control/options.ts';
import type { MigrationResult, Progress } from '../control/progress.ts';
import { DESTINATION_STATES, StateMachine } from '../control/states.ts';
import { StallWatch } from '../control/watchdog.ts';
import { type ErrorPhase, MigrationError } from '../error.ts';
import type { DeviceState, IncomingGuest } from '../guest/contract.ts';
import { guestCall } from '../guest/guest-call.ts';
import type { DecompressThreads, PageReceiver } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type { Listener } from '../transport/index.ts';
import { encodeReturnPath } from '../wire/return-path.ts';
import { ChannelSet, type PageConnection } from './channel-set.ts';
import { MainStreamLoader } from './main-stream.ts';
import { IncomingStats } from './stats.ts';

export interface IncomingParts {
  readonly guest: Pick<
    IncomingGuest,
    'uuid' | 'prepare' | 'readyForSwitchover' | 'load' | 'announce' | 'start' | 'discard'
  >;
  readonly options: ResolvedReceiveOptions;
  readonly listener: Listener;
  /** Makes the page channels; called only with multifd. */
  createReceiver?(): PageReceiver<PageConnection>;
  /** Makes the decompress threads; called only with compress. */
  createDecompressThreads?(): DecompressThreads;
  /** Every change of state, and what else happens. */
  onEvent?(event: MigrationEvent): void;
  /** The guest is here from now on: it must not be discarded, whatever happens. */
  onTakeOver?(): void;
}

/** How long the last message to the source may take to leave, ms. */
const SHUT_LIMIT_MS = 300;
/** How long the good verdict may take to leave, ms. */
const VERDICT_LIMIT_MS = 5000;
/** While the guest takes its time to load, the source hears a PONG this often: it may be watching for a stall. */
const ALIVE_INTERVAL_MS = 5000;

/**
 * One incoming precopy migration: collects the channels, loads the stream, and tells the source on the
 * return path whether the guest is safe here. The first error wins; after one nothing of the guest is left.
 */
export class IncomingMigration {
  readonly #parts: IncomingParts;
  readonly #stop = new AbortController();
  readonly #stopped: Promise<never>;
  readonly #stats = new IncomingStats();
  readonly #state: StateMachine;
  readonly #watch: StallWatch;
  readonly #warnings: string[] = [];
  #phase: ErrorPhase = 'connect';
  #channels: ChannelSet | undefined;
  #receiver: PageReceiver<PageConnection> | undefined;
  #decompressThreads: DecompressThreads | undefined;
  #main: ByteChannel | undefined;
  #loader: MainStreamLoader | undefined;
  #loading: Promise<void> | undefined;
  /** Set once the source was told that the guest is here. */
  #taken = false;
  /** The good verdict is on its way to the source. */
  #telling = false;

  constructor(parts: IncomingParts) {
    this.#parts = parts;
    this.#state = new StateMachine(DESTINATION_STATES, (status) => {
      this.#stats.entered(status);
      this.#emit({ event: 'MIGRATION', data: { status } });
    });
    const moved = () => this.#stats.movedBytes();
    this.#watch = new StallWatch(parts.options.stallTimeoutMs, moved, () => this.#stats.place());
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.#stopped = promise;
    this.#stop.signal.addEventListener('abort', () => reject(this.#stop.signal.reason));
  }

  progress(): Progress {
    return this.#stats.progress();
  }

  /** Ends the migration with `cancelled`. Does nothing once the guest was taken over. */
  cancel(): void {
    if (!this.#telling && !this.#taken)
      this.#fail(new MigrationError('cancelled', 'the migration was cancelled'));
  }

  /** Waits for a migration and takes it to its end. @throws MigrationError */
  async run(): Promise<MigrationResult> {
    this.#state.enter('setup');
    this.#watch.failed.catch((error) => this.#fail(error));
    try {
      await Promise.race([this.#receive(), this.#stopped]);
    } catch (thrown) {
      // First of all the other half of the race is ended: nothing of it may go on beside the clean-up.
      this.#stop.abort(thrown);
      const error = MigrationError.from(thrown, 'internal');
      error.phase ??= this.#phase;
      this.#watch.stop();
      await this.#giveUp(error);
      this.#stats.failed(error);
      this.#state.enter(error.code === 'cancelled' ? 'cancelled' : 'failed');
      throw error;
    } finally {
      this.#watch.stop();
    }
    return this.#stats.result(this.#loader?.returnPath ?? false, this.#warnings);
  }

  #emit(event: MigrationEvent): void {
    this.#parts.onEvent?.(event);
  }

  /** Takes an error of anything that runs beside the migration. */
  #fail(error: Error): void {
    if (this.#telling || this.#taken) this.#warnings.push(`after the hand-over: ${error.message}`);
    else this.#stop.abort(error);
  }

  async #receive(): Promise<void> {
    const { options, guest, listener } = this.#parts;
    const { signal } = this.#stop;
    if (options.multifd) {
      if (this.#parts.createReceiver === undefined)
        throw new MigrationError('internal', 'no page channels were given');
      this.#receiver = this.#parts.createReceiver();
      this.#receiver.failed.catch((error) => this.#fail(error));
    }
    if (options.compress) {
      if (this.#parts.createDecompressThreads === undefined)
        throw new MigrationError('internal', 'no decompress threads were given');
      this.#decompressThreads = this.#parts.createDecompressThreads();
      this.#decompressThreads.failed.catch((error) => this.#fail(error));
    }
    const wanted = {
      channels: options.multifd ? options.multifdChannels : 0,
      channelTimeoutMs: options.channelTimeoutMs,
      uuid: guest.uuid,
    };
    this.#channels = new ChannelSet(listener, wanted, this.#receiver, (error) => this.#fail(error));
    const main = await this.#channels.main;
    this.#main = main;
    this.#stats.begin(main, this.#receiver);
    this.#watch.start();
    await this.#channels.complete;
    signal.throwIfAborted();

    this.#phase = 'active';
    this.#state.enter('active');
    const loader = new MainStreamLoader({
      main,
      guest,
      receiver: this.#receiver,
      decompressThreads: this.#decompressThreads,
      options,
      handshakeUuid: this.#channels.uuid,
      signal,
      stats: this.#stats,
      watch: this.#watch,
      onError: (error) => this.#fail(error),
    });
    this.#loader = loader;
    const loaded = await loader.loadRam();
    this.#receiver?.seal();
    this.#stats.ramLoaded();
    this.#phase = 'device';
    await this.#channels.close();
    signal.throwIfAborted();
    await this.#load(main, loader.returnPath, loaded);
    signal.throwIfAborted();
    await this.#takeOver(main, loader.returnPath);
  }

  /** Loads the guest, and stops when the source gives up meanwhile: its guest runs on, so this one must not. */
  async #load(
    main: ByteChannel,
    returnPath: boolean,
    { state, absent }: { state: DeviceState; absent: readonly string[] },
  ): Promise<void> {
    this.#loading = guestCall(this.#parts.guest.load(state, absent), 'could not be loaded');
    if (!returnPath) {
      await this.#watch.pausedDuring(this.#loading);
      return;
    }
    void this.#untilSourceLeaves(main);
    const alive = setInterval(
      () => main.write(encodeReturnPath({ type: 'pong', value: 0 })),
      ALIVE_INTERVAL_MS,
    );
    try {
      await this.#watch.pausedDuring(this.#loading);
    } finally {
      clearInterval(alive);
    }
  }

  /** A source that opened a return path stays until it has heard the verdict. */
  async #untilSourceLeaves(main: ByteChannel): Promise<void> {
    const details = {
      channel: main.name,
      offset: main.bytesRead,
      expected: 'the source to wait for the verdict',
    };
    try {
      while ((await main.read()) !== undefined);
      this.#leave(new MigrationError('source-failed', 'the source closed the connection', details));
    } catch (error) {
      this.#leave(MigrationError.from(error, 'source-failed', details));
    }
  }

  #leave(error: MigrationError): void {
    if (!this.#telling && !this.#taken) this.#fail(error);
  }

  /** The guest is safe here: the source is told first, so that the guest is not started on both sides. */
  async #takeOver(main: ByteChannel, returnPath: boolean): Promise<void> {
    if (returnPath) {
      // Once this is on its way the source gives the guest up: only a failure to send it can undo that.
      this.#telling = true;
      main.write(encodeReturnPath({ type: 'shut', value: 0 }));
      await this.#flushedWithin(main, VERDICT_LIMIT_MS);
    } else {
      this.#warnings.push('the source opened no return path: it was not told that the guest arrived');
    }
    this.#taken = true;
    this.#parts.onTakeOver?.();
    this.#watch.stop();
    this.#phase = 'completed';
    // Begun before the guest runs, but nothing that it waits for.
    const announced = this.#announce();
    const runs = await guestCall(this.#parts.guest.start(), 'could not be started');
    this.#stats.guestTaken();
    if (runs) this.#emit({ event: 'RESUME' });
    this.#state.enter('completed');
    await announced;
    // They have had nothing to do since the last page; the guest does not wait for their end.
    await this.#decompressThreads?.end();
    // The source, which waits for the main channel's end, need not wait for the other channels' as well.
    const closed = [main.close(), this.#receiver?.close()];
    await Promise.all(closed.map((each) => each?.catch((error: Error) => this.#fail(error))));
  }

  /** The network is told where the guest is now. It runs all the same when that fails. */
  async #announce(): Promise<void> {
    const { guest, options } = this.#parts;
    const { announceInitialMs, announceMaxMs, announceRounds, announceStepMs } = options;
    const parameters = {
      initialMs: announceInitialMs,
      maxMs: announceMaxMs,
      rounds: announceRounds,
      stepMs: announceStepMs,
    };
    await guest.announce?.(parameters).catch((error: Error) => {
      this.#warnings.push(`the guest was not announced: ${error.message}`);
    });
  }

  /** @throws MigrationError `connection-lost` */
  async #flushedWithin(main: ByteChannel, limitMs: number): Promise<void> {
    const { promise, reject } = Promise.withResolvers<never>();
    const details = { channel: main.name, offset: main.bytesWritten };
    const late = () =>
      reject(new MigrationError('connection-lost', 'the source does not take the verdict', details));
    const timer = setTimeout(late, limitMs);
    try {
      await Promise.race([main.flushed(), promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Tells the source that the guest did not arrive, where that can be told, and drops everything. */
  async #giveUp(error: MigrationError): Promise<void> {
    const aborted = Promise.all([this.#receiver?.abort(error), this.#decompressThreads?.end(error)]);
    if (this.#main !== undefined) {
      if (this.#loader?.returnPath && !this.#telling && !this.#taken) {
        this.#main.write(encodeReturnPath({ type: 'shut', value: 1 }));
        await this.#flushedWithin(this.#main, SHUT_LIMIT_MS).catch(() => {});
      }
      this.#main.destroy(error);
    }
    if (this.#channels === undefined) await this.#parts.listener.close();
    else await this.#channels.close();
    await aborted;
    if (this.#taken) return;
    await this.#parts.guest.discard();
    await this.#loading?.catch(() => {});
  }
}
