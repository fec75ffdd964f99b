import type { ResolvedReceiveOptions } from '../control/options.ts';
import type { MigrationResult, MigrationStatus, Progress } from '../control/progress.ts';
import { StallWatch } from '../control/watchdog.ts';
import { type ErrorPhase, MigrationError } from '../error.ts';
import type { IncomingGuest } from '../guest/contract.ts';
import type { PageReceiver } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type { Listener } from '../transport/index.ts';
import { encodeReturnPath } from '../wire/return-path.ts';
import { ChannelSet, type PageConnection } from './channel-set.ts';
import { MainStreamLoader } from './main-stream.ts';
import { IncomingStats } from './stats.ts';

export interface IncomingParts {
  readonly guest: Pick<IncomingGuest, 'uuid' | 'prepare' | 'load' | 'start' | 'discard'>;
  readonly options: ResolvedReceiveOptions;
  readonly listener: Listener;
  /** Makes the page channels; called only with multifd. */
  createReceiver?(): PageReceiver<PageConnection>;
  onStatus?(status: MigrationStatus): void;
}

/** How long the last message to the source may take to leave, ms. */
const SHUT_LIMIT_MS = 1000;

/**
 * One incoming precopy migration: collects the channels, loads the stream, and tells the source on the
 * return path whether the guest is safe here. The first error wins; after one nothing of the guest is left.
 */
export class IncomingMigration {
  readonly #parts: IncomingParts;
  readonly #stop = new AbortController();
  readonly #stopped: Promise<never>;
  readonly #stats: IncomingStats;
  readonly #warnings: string[] = [];
  #phase: ErrorPhase = 'connect';
  #channels: ChannelSet | undefined;
  #receiver: PageReceiver<PageConnection> | undefined;
  #main: ByteChannel | undefined;
  #loader: MainStreamLoader | undefined;
  #loading: Promise<void> | undefined;
  /** Set once the source was told that the guest is here. */
  #taken = false;

  constructor(parts: IncomingParts) {
    this.#parts = parts;
    this.#stats = new IncomingStats(parts.onStatus ?? (() => {}));
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
    if (this.#taken) return;
    this.#stop.abort(new MigrationError('cancelled', 'the migration was cancelled'));
  }

  /** Waits for a migration and takes it to its end. @throws MigrationError */
  async run(): Promise<MigrationResult> {
    const { options, guest } = this.#parts;
    const watch = new StallWatch(options.stallTimeoutMs, () => this.#stats.movedBytes());
    watch.failed.catch((error) => this.#stop.abort(error));
    try {
      await Promise.race([this.#receive(watch), this.#stopped]);
    } catch (thrown) {
      // First of all the other half of the race is ended: nothing of it may go on beside the clean-up.
      this.#stop.abort(thrown);
      const error = MigrationError.from(thrown, 'internal');
      error.phase ??= this.#phase;
      watch.stop();
      await this.#giveUp(error);
      if (!this.#taken) await guest.discard();
      await this.#loading?.catch(() => {});
      this.#stats.setStatus(error.code === 'cancelled' ? 'cancelled' : 'failed');
      throw error;
    } finally {
      watch.stop();
    }
    return this.#stats.result(this.#loader?.returnPath ?? false, this.#warnings);
  }

  async #receive(watch: StallWatch): Promise<void> {
    const { options, guest, listener } = this.#parts;
    const { signal } = this.#stop;
    if (options.multifd) {
      if (this.#parts.createReceiver === undefined)
        throw new MigrationError('internal', 'no page channels were given');
      this.#receiver = this.#parts.createReceiver();
      this.#receiver.failed.catch((error) => this.#stop.abort(error));
    }
    const wanted = {
      channels: options.multifd ? options.multifdChannels : 0,
      channelTimeoutMs: options.channelTimeoutMs,
      uuid: guest.uuid,
    };
    this.#channels = new ChannelSet(listener, wanted, this.#receiver, (error) => this.#stop.abort(error));
    const main = await this.#channels.main;
    this.#main = main;
    this.#stats.begin(main, this.#receiver);
    watch.start();
    await this.#channels.complete;
    signal.throwIfAborted();

    this.#phase = 'active';
    const loader = new MainStreamLoader({
      main,
      guest,
      receiver: this.#receiver,
      options,
      handshakeUuid: this.#channels.uuid,
      signal,
      stats: this.#stats,
    });
    this.#loader = loader;
    const state = await loader.loadRam();
    this.#stats.setStatus('device');
    this.#phase = 'device';
    await this.#channels.close();
    signal.throwIfAborted();
    this.#loading = guest.load(state);
    await watch.pausedDuring(this.#loading);
    signal.throwIfAborted();
    await this.#takeOver(main, loader.returnPath);
  }

  /** The guest is safe here: the source is told first, so that it can never run on both sides. */
  async #takeOver(main: ByteChannel, returnPath: boolean): Promise<void> {
    this.#taken = true;
    this.#phase = 'completed';
    if (returnPath) {
      main.write(encodeReturnPath({ type: 'shut', value: 0 }));
      await main.flushed();
    } else {
      this.#warnings.push('the source opened no return path: it was not told that the guest arrived');
    }
    await this.#parts.guest.start();
    this.#stats.guestTaken();
    this.#stats.setStatus('completed');
    const ended = (error: Error) => this.#warnings.push(`after the hand-over: ${error.message}`);
    await this.#receiver?.close().catch(ended);
    await main.close().catch(ended);
  }

  /** Tells the source that the guest did not arrive, where that can be told, and closes everything. */
  async #giveUp(error: MigrationError): Promise<void> {
    const aborted = this.#receiver?.abort(error);
    if (this.#main !== undefined) {
      if (this.#loader?.returnPath && !this.#taken) {
        this.#main.write(encodeReturnPath({ type: 'shut', value: 1 }));
        const { promise, resolve } = Promise.withResolvers<void>();
        const timer = setTimeout(resolve, SHUT_LIMIT_MS);
        await Promise.race([this.#main.flushed().catch(() => {}), promise]);
        clearTimeout(timer);
      }
      this.#main.destroy(error);
    }
    if (this.#channels === undefined) await this.#parts.listener.close();
    else await this.#channels.close();
    await aborted;
  }
}
