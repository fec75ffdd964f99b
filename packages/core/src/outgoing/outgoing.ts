import type { ResolvedMigrateOptions } from '../control/options.ts';
import type { MigrationResult, MigrationStatus, Progress } from '../control/progress.ts';
import { StallWatch } from '../control/watchdog.ts';
import { type ErrorPhase, MigrationError } from '../error.ts';
import type { Guest } from '../guest/contract.ts';
import { type RamBlock, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { PageSender } from '../page-channels.ts';
import type { ByteChannel, SeekableChannel } from '../transport/byte-channel.ts';
import { Convergence } from './convergence.ts';
import { GuestSwitch } from './guest-switch.ts';
import type { MainPageWriter } from './main-pages.ts';
import { MainStreamWriter } from './main-stream.ts';
import { MappedRamStreamWriter } from './mapped-ram-stream.ts';
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
  /** Opens the main channel; with mapped-ram a `SeekableChannel`. */
  connect(signal: AbortSignal): Promise<ByteChannel>;
  /** Makes the page channels; called only with multifd or mapped-ram. */
  createSender?(switches: ProtocolSwitches): PageSender;
  /** Writes the pages of a main channel without multifd; `MainPages` if absent or if it gives undefined. */
  createMainPages?(channel: ByteChannel, blocks: readonly RamBlock[]): MainPageWriter | undefined;
  /** When the migration was asked for, on this thread's `performance.now()`; now if absent. */
  readonly startMs?: number;
  onStatus?(status: MigrationStatus): void;
  /** The guest is the destination's from now on: it must not be started here again, whatever happens. */
  onHandOver?(): void;
}

/** How long after a broken connection the destination's own verdict is waited for, ms. */
const VERDICT_GRACE_MS = 250;
/** A PART section ends after this long, so that the loop looks at the clock and the guest (QEMU's MAX_WAIT). */
const PART_LIMIT_MS = 50;
/** How often queues that are still too full for the switch-over are looked at, ms. */
const QUEUE_POLL_MS = 2;

/**
 * One outgoing precopy migration: setup, iteration while the guest runs, switch-over, and what happens
 * when any of it fails. The first error wins; the guest that ran before runs again after it.
 */
export class OutgoingMigration {
  readonly #parts: OutgoingParts;
  readonly #options: ResolvedMigrateOptions;
  readonly #guest: GuestSwitch;
  readonly #stop = new AbortController();
  readonly #stopped: Promise<never>;
  readonly #stats: OutgoingStats;
  readonly #watch: StallWatch;
  readonly #warnings: string[] = [];
  #phase: ErrorPhase = 'setup';
  #channel: ByteChannel | undefined;
  #sender: PageSender | undefined;
  #returnPath: ReturnPathReader | undefined;
  #ram: RamIteration | undefined;
  /** The value of the last PING; the first one goes with the opening of the return path. */
  #pings = 1;
  /** Everything is sent: what is missing is the destination's verdict. */
  #allSent = false;
  /** The destination holds the guest: what fails from here on is a warning. */
  #handedOver = false;

  constructor(parts: OutgoingParts) {
    this.#parts = parts;
    this.#options = parts.options;
    this.#guest = new GuestSwitch(parts.guest);
    this.#stats = new OutgoingStats(parts.onStatus ?? (() => {}), parts.startMs);
    const moved = () => this.#stats.movedBytes();
    this.#watch = new StallWatch(parts.options.stallTimeoutMs, moved, () => this.#stats.slowest());
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.#stopped = promise;
    this.#stop.signal.addEventListener('abort', () => reject(this.#stop.signal.reason));
  }

  progress(): Progress {
    return this.#stats.progress(this.#options.downtimeLimitMs);
  }

  /** Ends the migration with `cancelled`; the guest runs on. Does nothing once the guest is handed over. */
  cancel(): void {
    if (this.#handedOver) return;
    this.#stats.setStatus('cancelling');
    this.#fail(new MigrationError('cancelled', 'the migration was cancelled'));
  }

  /** Runs the migration to its end. @throws MigrationError */
  async run(): Promise<MigrationResult> {
    this.#watch.failed.catch((error) => this.#fail(error));
    try {
      await Promise.race([this.#migrate(), this.#stopped]);
    } catch (thrown) {
      // First of all the other half of the race is ended: nothing of it may go on beside the recovery.
      this.#stop.abort(thrown);
      const error = await this.#explain(MigrationError.from(thrown, 'internal'));
      if (error !== undefined) {
        error.phase ??= this.#phase;
        this.#watch.stop();
        await this.#recover(error);
        this.#stats.setStatus(error.code === 'cancelled' ? 'cancelled' : 'failed');
        throw error;
      }
      await this.#complete();
    } finally {
      this.#watch.stop();
      this.#ram?.stop();
    }
    return this.#stats.result(this.#returnPath !== undefined, this.#warnings);
  }

  /** Takes an error of anything that runs beside the migration. */
  #fail(error: Error): void {
    if (this.#handedOver) this.#warnings.push(`after the hand-over: ${error.message}`);
    else this.#stop.abort(error);
  }

  async #migrate(): Promise<void> {
    const { signal } = this.#stop;
    this.#stats.setStatus('setup');
    const { machine, uuid, targetPageBits, ramSectionId, memory, earlySections } = this.#parts.guest;
    const switches = protocolSwitches(machine, this.#options);
    if (this.#options.multifd || this.#options.mappedRam) {
      const { createSender } = this.#parts;
      if (createSender === undefined) throw new MigrationError('internal', 'no page channels were given');
      this.#sender = createSender(switches);
      this.#sender.failed.catch((error) => this.#fail(error));
    }
    this.#phase = 'connect';
    const channel = await this.#parts.connect(signal);
    if (signal.aborted) channel.destroy(signal.reason);
    signal.throwIfAborted();
    this.#channel = channel;
    this.#stats.attach(channel, this.#sender);
    this.#watch.start();

    const ram = new RamIteration(memory);
    this.#ram = ram;
    const stream = switches.mappedRam
      ? new MappedRamStreamWriter(seekable(channel), ramSectionId)
      : new MainStreamWriter(channel, ramSectionId);
    stream.header({ machine, uuid, targetPageBits });
    // The header is on its way before the channels connect: a destination may wait for it to tell the
    // main channel from the others.
    const blocks = ram.blocks.map((block) => block.toMemory());
    await this.#sender?.open(blocks, stream.places(ram.blocks));
    signal.throwIfAborted();
    this.#openReturnPath(channel, stream);

    const pacer = new Pacer(this.#options.maxBandwidthBytesPerSecond);
    const wireBytes = () => this.#stats.wireBytes();
    const flow = new PageFlow({
      ram,
      channel,
      stream,
      switches,
      pacer,
      sender: this.#sender,
      mainPages: this.#sender ? undefined : this.#parts.createMainPages?.(channel, ram.blocks),
      signal,
      wireBytes,
    });
    this.#stats.follow(ram, flow, pacer);
    ram.start();
    await flow.writeStart(earlySections ?? []);
    this.#phase = 'active';
    this.#stats.setStatus('active');
    await this.#iterate(flow, ram, pacer, stream);
    await this.#switchOver(flow, stream, switches);
  }

  #openReturnPath(channel: ByteChannel, stream: MainStreamWriter): void {
    if (this.#options.returnPath && channel.duplex) {
      stream.openReturnPath();
      this.#returnPath = new ReturnPathReader(channel, () => this.#allSent);
      this.#returnPath.verdict.catch((error) => this.#fail(error));
      return;
    }
    this.#warnings.push(
      `${this.#options.returnPath ? 'this transport has' : 'there is'} no return path: ` +
        'whether the destination could load the guest is not known here',
    );
  }

  /** Sends dirty pages until what is left fits into the downtime limit, and as long after that as it pays. */
  async #iterate(flow: PageFlow, ram: RamIteration, pacer: Pacer, stream: MainStreamWriter): Promise<void> {
    const { signal } = this.#stop;
    const convergence = new Convergence();
    /** The guest could be stopped, but the pass is finished first. */
    let finishing = false;
    for (;;) {
      signal.throwIfAborted();
      this.#stats.measure();
      const threshold = pacer.thresholdBytes(this.#options.downtimeLimitMs);
      const passEnded = ram.dirtyPages === 0;
      if (passEnded && finishing) await this.#arrived(flow, stream);
      if (passEnded || (!finishing && flow.pendingBytes() < threshold)) {
        const dirtied = ram.sync();
        this.#stats.synced();
        const pending = flow.pendingBytes();
        const fits = pending <= threshold;
        if (!convergence.paysToGoOn(dirtied * TARGET_PAGE_BYTES, pending, pacer.bytesPerMs, fits)) return;
        finishing = fits;
      }
      if (ram.dirtyPages > 0) await flow.writePart(PART_LIMIT_MS);
      else await new Promise((resolve) => setTimeout(resolve, QUEUE_POLL_MS));
    }
  }

  /**
   * Waits until the destination has all that was sent: buffers on the way, that hold more than the downtime
   * limit allows, empty while the guest runs.
   */
  async #arrived(flow: PageFlow, stream: MainStreamWriter): Promise<void> {
    // Ends with a sync point, behind which the answer comes.
    await flow.writePart(0);
    if (this.#returnPath === undefined) {
      await this.#sender?.flushed();
      await this.#channel!.flushed();
    } else {
      stream.ping(++this.#pings);
      await Promise.race([this.#returnPath.pong(this.#pings), this.#stopped]);
    }
    this.#stop.signal.throwIfAborted();
  }

  async #switchOver(flow: PageFlow, stream: MainStreamWriter, switches: ProtocolSwitches): Promise<void> {
    const { signal } = this.#stop;
    this.#phase = 'switchover';
    this.#stats.setStatus('device');
    this.#stats.guestStops();
    await this.#guest.stop();
    signal.throwIfAborted();
    await this.#watch.pausedDuring(this.#guest.inactivate());
    signal.throwIfAborted();
    this.#ram!.sync();
    this.#stats.synced();
    if (switches.sendSwitchoverStart) stream.switchoverStart();
    await flow.writeEnd();
    signal.throwIfAborted();

    this.#phase = 'device';
    const state = await this.#watch.pausedDuring(this.#guest.saveDeviceState());
    signal.throwIfAborted();
    stream.devices(state);
    this.#allSent = true;
    await this.#channel!.flushed();
    await this.#sender?.flushed();
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
      // A mapped-ram file is brought to the disk here, which may take long and moves no byte.
      const closed = this.#closeAll();
      await (this.#options.mappedRam ? this.#watch.pausedDuring(closed) : closed);
      this.#handOver();
    } else {
      this.#handOver();
      await this.#closeAll().catch((error: Error) => this.#fail(error));
    }
    this.#stats.setStatus('completed');
  }

  #handOver(): void {
    this.#handedOver = true;
    this.#parts.onHandOver?.();
    this.#watch.stop();
    this.#stats.guestHandedOver();
    this.#phase = 'completed';
  }

  async #closeAll(): Promise<void> {
    await this.#sender?.close();
    await this.#channel!.close();
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
      return verdict === 'success' ? undefined : this.#withoutVerdict(error);
    } catch (verdict) {
      const said = verdict instanceof MigrationError && verdict.code === 'destination-failed';
      return said ? verdict : this.#withoutVerdict(error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** With everything sent, a connection that breaks is a destination that could not take the guest. */
  #withoutVerdict(error: MigrationError): MigrationError {
    if (!this.#allSent) return error;
    const { channel, offset, found } = error;
    return new MigrationError('destination-failed', 'the destination went away before it reported success', {
      channel,
      offset,
      found,
      cause: error,
    });
  }

  /** Closes everything and lets the guest go on as before. */
  async #recover(error: MigrationError): Promise<void> {
    this.#channel?.destroy(error);
    const aborted = this.#sender?.abort(error);
    if (!this.#handedOver) {
      const trouble = await this.#guest.restore();
      if (trouble !== undefined) error.message += `; ${trouble}`;
    }
    await aborted;
  }
}

function seekable(channel: ByteChannel): SeekableChannel {
  if ('skipTo' in channel) return channel as SeekableChannel;
  throw new MigrationError('internal', 'the main channel of mapped-ram is no file', {
    channel: channel.name,
  });
}
