import type { ResolvedMigrateOptions } from '../control/options.ts';
import type { MigrationResult, MigrationStatus, Progress } from '../control/progress.ts';
import { StallWatch } from '../control/watchdog.ts';
import { type ErrorPhase, MigrationError } from '../error.ts';
import type { DeviceState, Guest } from '../guest/contract.ts';
import { RunControl } from '../guest/run-control.ts';
import type { PageSender } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import { MainStreamWriter } from './main-stream.ts';
import { Pacer } from './pacer.ts';
import { PageFlow } from './page-flow.ts';
import { RamIteration } from './ram-iteration.ts';
import { ReturnPathReader } from './return-path.ts';
import { OutgoingStats } from './stats.ts';
import { type ProtocolSwitches, protocolSwitches } from './switches.ts';

export interface OutgoingParts {
  /** Its calls may cross threads; its memory is shared. */
  readonly guest: Guest;
  readonly options: ResolvedMigrateOptions;
  /** Opens the main channel. */
  connect(signal: AbortSignal): Promise<ByteChannel>;
  /** Makes the page channels; called only with multifd. */
  createSender?(switches: ProtocolSwitches): PageSender;
  onStatus?(status: MigrationStatus): void;
}

/** How long after a broken connection the destination's own verdict is waited for, ms. */
const VERDICT_GRACE_MS = 250;
const STOP_LIMIT_MS = 5000;
/** A PART section ends after this long, so that the loop looks at the clock and the guest (QEMU's MAX_WAIT). */
const PART_LIMIT_MS = 50;

/**
 * One outgoing precopy migration: setup, iteration while the guest runs, switch-over, and what happens
 * when any of it fails. The first error wins; the guest that ran before runs again after it.
 */
export class OutgoingMigration {
  readonly #parts: OutgoingParts;
  readonly #options: ResolvedMigrateOptions;
  readonly #guest: Guest;
  readonly #stop = new AbortController();
  readonly #stopped: Promise<never>;
  readonly #control: RunControl | undefined;
  readonly #stats: OutgoingStats;
  readonly #warnings: string[] = [];
  #phase: ErrorPhase = 'setup';
  #channel: ByteChannel | undefined;
  #sender: PageSender | undefined;
  #returnPath: ReturnPathReader | undefined;
  #ram: RamIteration | undefined;
  #guestStopped = false;
  /** Whether it ran when it was stopped: a guest that its owner had stopped stays so after a failure. */
  #guestRan = false;
  /** Everything is sent: what is missing is the destination's verdict. */
  #allSent = false;
  #inactivated = false;
  /** Set once the destination holds the guest: an error from here on must not start it here again. */
  #handedOver = false;

  constructor(parts: OutgoingParts) {
    this.#parts = parts;
    this.#options = parts.options;
    this.#guest = parts.guest;
    const { runControl } = parts.guest.memory;
    this.#control = runControl === undefined ? undefined : new RunControl(runControl);
    this.#stats = new OutgoingStats(parts.onStatus ?? (() => {}));
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.#stopped = promise;
    this.#stop.signal.addEventListener('abort', () => reject(this.#stop.signal.reason));
  }

  /** Whether the source's guest runs now, as far as the engine is concerned. */
  get guestRuns(): boolean {
    return this.#control?.running ?? false;
  }

  progress(): Progress {
    return this.#stats.progress(this.#options.downtimeLimitMs);
  }

  /** Ends the migration with `cancelled`; the guest runs on. Does nothing once the guest is handed over. */
  cancel(): void {
    if (this.#handedOver) return;
    this.#stats.setStatus('cancelling');
    this.#stop.abort(new MigrationError('cancelled', 'the migration was cancelled'));
  }

  /** Runs the migration to its end. @throws MigrationError */
  async run(): Promise<MigrationResult> {
    const watch = new StallWatch(this.#options.stallTimeoutMs, () => this.#stats.movedBytes());
    watch.failed.catch((error) => this.#stop.abort(error));
    try {
      this.#stats.setStatus('setup');
      const switches = protocolSwitches(this.#guest.machine, this.#options);
      if (this.#options.multifd) {
        if (this.#parts.createSender === undefined)
          throw new MigrationError('internal', 'no page channels were given');
        this.#sender = this.#parts.createSender(switches);
        this.#sender.failed.catch((error) => this.#stop.abort(error));
      }
      await Promise.race([this.#migrate(switches, watch), this.#stopped]);
    } catch (thrown) {
      // First of all the other half of the race is ended: nothing of it may go on beside the recovery.
      this.#stop.abort(thrown);
      const error = await this.#explain(MigrationError.from(thrown, 'internal'));
      if (error !== undefined) {
        error.phase ??= this.#phase;
        watch.stop();
        await this.#recover(error);
        this.#stats.setStatus(error.code === 'cancelled' ? 'cancelled' : 'failed');
        throw error;
      }
      await this.#complete();
    } finally {
      watch.stop();
      this.#ram?.stop();
    }
    return this.#stats.result(this.#returnPath !== undefined, this.#warnings);
  }

  async #migrate(switches: ProtocolSwitches, watch: StallWatch): Promise<void> {
    const { signal } = this.#stop;
    this.#phase = 'connect';
    const channel = await this.#parts.connect(signal);
    if (signal.aborted) channel.destroy(signal.reason);
    signal.throwIfAborted();
    this.#channel = channel;
    this.#stats.attach(channel, this.#sender);
    watch.start();

    const ram = new RamIteration(this.#guest.memory);
    this.#ram = ram;
    const stream = new MainStreamWriter(channel, this.#guest.ramSectionId);
    const { machine, uuid, targetPageBits } = this.#guest;
    stream.header({ machine, uuid, targetPageBits });
    // The header is on its way before the channels connect: a destination may wait for it to tell the
    // main channel from the others.
    await this.#sender?.open(ram.blocks.map((block) => block.toMemory()));
    signal.throwIfAborted();
    this.#openReturnPath(channel, stream);

    const pacer = new Pacer(this.#options.maxBandwidthBytesPerSecond);
    const flow = new PageFlow({ ram, channel, stream, switches, pacer, sender: this.#sender, signal });
    this.#stats.follow(ram, flow, pacer);
    ram.start();
    await flow.writeStart(this.#guest.earlySections ?? []);
    this.#phase = 'active';
    this.#stats.setStatus('active');
    await this.#iterate(flow, ram, pacer);
    await this.#switchOver(flow, stream, switches, watch);
  }

  #openReturnPath(channel: ByteChannel, stream: MainStreamWriter): void {
    if (this.#options.returnPath && channel.duplex) {
      stream.openReturnPath();
      this.#returnPath = new ReturnPathReader(channel);
      this.#returnPath.verdict.catch((error) => this.#stop.abort(error));
      return;
    }
    this.#warnings.push(
      `${this.#options.returnPath ? 'this transport has' : 'there is'} no return path: ` +
        'whether the destination could load the guest is not known here',
    );
  }

  /** Sends dirty pages until what is left fits into the downtime limit. */
  async #iterate(flow: PageFlow, ram: RamIteration, pacer: Pacer): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      signal.throwIfAborted();
      this.#stats.measure();
      const threshold = pacer.thresholdBytes(this.#options.downtimeLimitMs);
      if (ram.dirtyPages === 0 || flow.pendingBytes() < threshold) {
        ram.sync();
        this.#stats.synced();
        if (ram.dirtyPages === 0 || flow.pendingBytes() <= threshold) return;
      }
      await flow.writePart(PART_LIMIT_MS);
    }
  }

  async #switchOver(
    flow: PageFlow,
    stream: MainStreamWriter,
    switches: ProtocolSwitches,
    watch: StallWatch,
  ): Promise<void> {
    const { signal } = this.#stop;
    this.#phase = 'switchover';
    this.#stats.setStatus('device');
    this.#stats.guestStops();
    this.#guestStopped = true;
    this.#guestRan = this.guestRuns;
    if (this.#control !== undefined && !(await this.#control.stop(STOP_LIMIT_MS))) {
      throw new MigrationError('guest-failed', `a vCPU did not stop within ${STOP_LIMIT_MS} ms`);
    }
    signal.throwIfAborted();
    this.#inactivated = true;
    await this.#guestCall(this.#guest.inactivate(), 'could not give up its disks');
    this.#ram!.sync();
    this.#stats.synced();
    if (switches.sendSwitchoverStart) stream.switchoverStart();
    await flow.writeEnd();
    signal.throwIfAborted();

    this.#phase = 'device';
    const state: DeviceState = await watch.pausedDuring(
      this.#guestCall(this.#guest.saveDeviceState(), 'could not save its device state'),
    );
    signal.throwIfAborted();
    stream.devices(state);
    await this.#channel!.flushed();
    await this.#sender?.flushed();
    this.#allSent = true;
    if (this.#returnPath !== undefined) await this.#returnPath.verdict;
    signal.throwIfAborted();
    await this.#complete();
  }

  /**
   * The hand-over. With a return path the destination has said that it holds the guest, so what fails from
   * here on is only worth a warning. Without one the clean end of the stream is all that there is to go by.
   */
  async #complete(): Promise<void> {
    if (this.#returnPath === undefined) {
      await this.#closeAll();
      this.#handedOver = true;
      this.#stats.guestHandedOver();
    } else {
      this.#handedOver = true;
      this.#stats.guestHandedOver();
      await this.#closeAll().catch((error: Error) =>
        this.#warnings.push(`after the hand-over: ${error.message}`),
      );
    }
    this.#phase = 'completed';
    this.#stats.setStatus('completed');
  }

  async #closeAll(): Promise<void> {
    await this.#sender?.close();
    await this.#channel!.close();
  }

  async #guestCall<T>(call: Promise<T>, what: string): Promise<T> {
    try {
      return await call;
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      if (error instanceof MigrationError) throw error;
      throw new MigrationError('guest-failed', `the guest ${what}: ${text}`, { cause: error });
    }
  }

  /**
   * A broken connection is often only the consequence of what the destination is about to say on the
   * return path, so that gets a moment. Returns undefined when it says that it has the guest.
   */
  async #explain(error: MigrationError): Promise<MigrationError | undefined> {
    if (error.code !== 'connection-lost' || this.#returnPath === undefined) return error;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(resolve, VERDICT_GRACE_MS, undefined);
    try {
      const verdict = await Promise.race([this.#returnPath.verdict.then(() => 'success'), promise]);
      return verdict === 'success' && this.#allSent ? undefined : error;
    } catch (verdict) {
      return verdict instanceof MigrationError && verdict.code === 'destination-failed' ? verdict : error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Closes everything and lets the guest go on as before. */
  async #recover(error: MigrationError): Promise<void> {
    this.#channel?.destroy(error);
    const aborted = this.#sender?.abort(error);
    if (!this.#handedOver && this.#guestStopped) {
      let mayStart = this.#guestRan;
      if (this.#inactivated) {
        await this.#guest.activate().catch((cause: unknown) => {
          const text = cause instanceof Error ? cause.message : String(cause);
          error.message += `; the guest could not take its disks back and stays stopped: ${text}`;
          mayStart = false;
        });
      }
      if (mayStart) this.#control?.start();
    }
    await aborted;
  }
}
