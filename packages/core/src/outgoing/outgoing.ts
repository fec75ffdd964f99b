import type { MigrationEvent } from '../control/events.ts';
import { applyLiveParameters, type LiveParameters, type ResolvedMigrateOptions } from '../control/options.ts';
import type { MigrationResult, Progress } from '../control/progress.ts';
import { SOURCE_STATES, StateMachine } from '../control/states.ts';
import { StallWatch } from '../control/watchdog.ts';
import { type ErrorPhase, MigrationError } from '../error.ts';
import type { ByteChannel, SeekableChannel } from '../transport/byte-channel.ts';
import { BackgroundSnapshot } from './background-snapshot.ts';
import { checkContent, withoutEffect } from './capabilities.ts';
import { GuestSwitch } from './guest-switch.ts';
import { GuestThrottle } from './guest-throttle.ts';
import { SourceLink } from './link.ts';
import { MainStreamWriter } from './main-stream.ts';
import { MappedRamStreamWriter } from './mapped-ram-stream.ts';
import type { OutgoingParts, SourceControl } from './parts.ts';
import { waitPatiently } from './patience.ts';
import { iterate } from './precopy.ts';
import { RamIteration } from './ram-iteration.ts';
import { setUp } from './setup.ts';
import { OutgoingStats } from './stats.ts';
import { switchOver } from './switch-over.ts';
import { type ProtocolSwitches, protocolSwitches } from './switches.ts';
import { PrimaryUnplug } from './unplug.ts';
import { explain } from './verdict.ts';

/**
 * One outgoing precopy migration: setup, iteration while the guest runs, switch-over, and what happens
 * when any of it fails. The first error wins; the guest that ran before runs again after it.
 */
export class OutgoingMigration {
  readonly #parts: OutgoingParts;
  /** The options, with what `setParameters` changed since. */
  readonly #live: ResolvedMigrateOptions;
  readonly #control: SourceControl;
  readonly #unplug: PrimaryUnplug;
  readonly #state: StateMachine;
  readonly #stop = new AbortController();
  readonly #continued = Promise.withResolvers<void>();
  readonly #stats: OutgoingStats;
  readonly #watch: StallWatch;
  readonly #warnings: string[] = [];
  #phase: ErrorPhase = 'setup';
  #link: SourceLink | undefined;
  #ram: RamIteration | undefined;
  #throttle: GuestThrottle | undefined;
  /** The destination holds the guest: what fails from here on is a warning. */
  #handedOver = false;

  constructor(parts: OutgoingParts) {
    this.#parts = parts;
    this.#live = { ...parts.options };
    this.#stats = new OutgoingStats(this.#live, parts.startMs);
    this.#state = new StateMachine(SOURCE_STATES, (status) => {
      this.#stats.entered(status);
      this.#emit({ event: 'MIGRATION', data: { status } });
    });
    const emit = (event: MigrationEvent) => this.#emit(event);
    this.#unplug = new PrimaryUnplug(parts.guest, emit);
    const moved = () => this.#stats.movedBytes();
    this.#watch = new StallWatch(this.#live.stallTimeoutMs, moved, () => this.#stats.slowest());
    const { promise: stopped, reject } = Promise.withResolvers<never>();
    stopped.catch(() => {});
    const { signal } = this.#stop;
    signal.addEventListener('abort', () => reject(signal.reason));
    this.#control = {
      live: this.#live,
      state: this.#state,
      guest: new GuestSwitch(parts.guest, emit, parts.onGuestStopped?.bind(parts)),
      stats: this.#stats,
      watch: this.#watch,
      signal,
      stopped,
      continued: this.#continued.promise,
    };
  }

  /** What it does, or how it ended. */
  progress(): Progress {
    return this.#stats.progress();
  }

  /** Ends the migration with `cancelled`; the guest runs on. Does nothing once it failed or the guest is handed over. */
  cancel(): void {
    if (this.#handedOver || this.#stop.signal.aborted) return;
    this.#fail(new MigrationError('cancelled', 'the migration was cancelled'));
    this.#enterCancelling();
  }

  /**
   * Leaves `pre-switchover`.
   * @throws MigrationError `bad-state` in any other state
   */
  continue(): void {
    this.#state.require('pre-switchover', 'migrate-continue');
    this.#continued.resolve();
  }

  /**
   * Changes options while the migration runs.
   * @throws MigrationError `bad-option` for one that cannot be changed, or to a value that is not allowed
   */
  setParameters(changes: LiveParameters): void {
    applyLiveParameters(this.#live, changes);
  }

  /** Runs the migration to its end. @throws MigrationError */
  async run(): Promise<MigrationResult> {
    this.#watch.failed.catch((error) => this.#fail(error));
    try {
      await Promise.race([this.#migrate(), this.#control.stopped]);
    } catch (thrown) {
      // First of all the other half of the race is ended: nothing of it may go on beside the recovery.
      this.#stop.abort(thrown);
      const first = MigrationError.from(thrown, 'internal');
      const error = await explain(first, this.#link);
      if (error !== undefined) {
        await this.#recover(error);
        throw error;
      }
      await this.#complete();
    } finally {
      this.#watch.stop();
      this.#throttle?.release();
      this.#ram?.stop();
    }
    return this.#stats.result(this.#link?.returnPath !== undefined, this.#warnings);
  }

  #enterPhase = (phase: ErrorPhase): void => {
    this.#phase = phase;
  };

  #emit(event: MigrationEvent): void {
    this.#parts.onEvent?.(event);
  }

  /** Takes an error of anything that runs beside the migration. */
  #fail(error: Error): void {
    if (this.#handedOver) this.#warnings.push(`after the hand-over: ${error.message}`);
    else this.#stop.abort(error);
  }

  async #migrate(): Promise<void> {
    const { signal } = this.#stop;
    this.#state.enter('setup');
    this.#unplug.ask();
    const { machine, uuid, targetPageBits, ramSectionId, memory } = this.#parts.guest;
    const { ignoreShared, validateUuid } = this.#live;
    const switches = protocolSwitches(machine, this.#live);
    if (!ignoreShared) checkContent(memory.blocks);
    this.#warnings.push(...withoutEffect(this.#live, uuid));
    const snapshot =
      this.#live.backgroundSnapshot && new BackgroundSnapshot(this.#parts.guest, this.#control);
    const throttle = new GuestThrottle(this.#live, memory);
    this.#throttle = throttle;
    const link = new SourceLink(this.#parts, this.#live, switches, (error) => this.#fail(error));
    this.#link = link;
    this.#phase = 'connect';
    const channel = await link.connect(signal);
    this.#stats.attach(channel, link.sender);
    this.#watch.start();

    const form = { ...switches, ignoreShared };
    const stream = switches.mappedRam
      ? new MappedRamStreamWriter(seekable(channel), ramSectionId, form)
      : new MainStreamWriter(channel, ramSectionId, form);
    stream.header({ machine, ...(validateUuid && { uuid }), targetPageBits });
    if (snapshot) {
      await this.#takeSnapshot(snapshot, channel, stream, switches);
      return;
    }
    const onPass = (pass: number) => this.#emit({ event: 'MIGRATION_PASS', data: { pass } });
    const ram = new RamIteration(memory, onPass, ignoreShared);
    this.#ram = ram;
    const connected = await setUp(this.#control, this.#parts, link, { ram, throttle, stream, switches });
    if (link.returnPath === undefined) this.#warnOfNoReturnPath();
    await this.#enterActive(stream);
    await iterate(this.#control, connected);
    await switchOver(this.#control, connected, this.#enterPhase);
    await this.#complete(signal);
  }

  async #takeSnapshot(
    snapshot: BackgroundSnapshot,
    channel: ByteChannel,
    stream: MainStreamWriter,
    switches: ProtocolSwitches,
  ): Promise<void> {
    if (channel.duplex)
      this.#warnings.push('a background snapshot has no return path: what became of it is not known here');
    await snapshot.begin(channel, stream, switches);
    await this.#enterActive(stream);
    await snapshot.take(this.#enterPhase);
    const trouble = await this.#unplug.restore();
    if (trouble !== undefined) this.#warnings.push(trouble);
    await this.#complete(this.#stop.signal);
  }

  /** Setup is done: waits for devices that the guest must let go of. */
  async #enterActive(stream: MainStreamWriter): Promise<void> {
    this.#phase = 'active';
    if (this.#unplug.pending) {
      this.#state.enter('wait-unplug');
      const returnPath = this.#link?.returnPath;
      await waitPatiently(this.#control, { returnPath, stream }, this.#unplug.finished());
    }
    this.#state.enter('active');
  }

  #warnOfNoReturnPath(): void {
    this.#warnings.push(
      `${this.#live.returnPath ? 'this transport has' : 'there is'} no return path: ` +
        'whether the destination could load the guest is not known here',
    );
  }

  /**
   * The hand-over. With a return path the destination has said that it holds the guest, so what fails from
   * here on is only worth a warning. Without one the clean end of the stream is all that there is to go by.
   *
   * @param signal aborted when the guest is being taken back: then it is not handed over
   */
  async #complete(signal?: AbortSignal): Promise<void> {
    const link = this.#link!;
    if (link.returnPath === undefined) {
      // A mapped-ram file is brought to the disk here, which may take long and moves no byte.
      const closed = link.close();
      await (this.#live.mappedRam ? this.#watch.pausedDuring(closed) : closed);
      signal?.throwIfAborted();
      this.#handOver();
    } else {
      signal?.throwIfAborted();
      this.#handOver();
      await link.close().catch((error: Error) => this.#fail(error));
    }
    this.#state.enter('completed');
  }

  #handOver(): void {
    this.#handedOver = true;
    if (!this.#live.backgroundSnapshot) this.#parts.onHandOver?.();
    this.#watch.stop();
    this.#stats.guestHandedOver();
    this.#phase = 'completed';
  }

  /** Closes everything and lets the guest go on as before. */
  async #recover(error: MigrationError): Promise<void> {
    error.phase ??= this.#phase;
    this.#watch.stop();
    const aborted = this.#link?.abort(error);
    const cancelled = error.code === 'cancelled';
    this.#stats.failed(error);
    // In QEMU's order: `failed` before the guest runs again, `cancelled` when all is over.
    if (cancelled) this.#enterCancelling();
    else this.#state.enter('failed');
    this.#throttle?.release();
    for (const part of [this.#control.guest, this.#unplug]) {
      const trouble = await part.restore();
      if (trouble !== undefined) error.message += `; ${trouble}`;
    }
    await aborted;
    if (cancelled) this.#state.enter('cancelled');
  }

  /** It may be there already, or be cancelled before it has begun. */
  #enterCancelling(): void {
    if (this.#state.mayEnter('cancelling')) this.#state.enter('cancelling');
  }
}

function seekable(channel: ByteChannel): SeekableChannel {
  if ('skipTo' in channel) return channel as SeekableChannel;
  throw new MigrationError('internal', 'the main channel of mapped-ram is no file', {
    channel: channel.name,
  });
}
