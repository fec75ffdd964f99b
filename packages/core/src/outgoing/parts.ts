import type { EventSink } from '../control/events.ts';
import type { ResolvedMigrateOptions } from '../control/options.ts';
import type { StateMachine } from '../control/states.ts';
import type { StallWatch } from '../control/watchdog.ts';
import type { Guest } from '../guest/contract.ts';
import type { RamBlock } from '../memory/ram-block.ts';
import type { CompressThreads, PageSender } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type { GuestSwitch } from './guest-switch.ts';
import type { GuestThrottle } from './guest-throttle.ts';
import type { MainPageWriter } from './main-pages.ts';
import type { MainStreamWriter } from './main-stream.ts';
import type { Pacer } from './pacer.ts';
import type { PageFlow } from './page-flow.ts';
import type { RamIteration } from './ram-iteration.ts';
import type { ReturnPathReader } from './return-path.ts';
import type { OutgoingStats } from './stats.ts';
import type { ProtocolSwitches } from './switches.ts';

/** What an outgoing migration is given. */
export interface OutgoingParts {
  /** Its calls may cross threads; its memory is shared. */
  readonly guest: Guest;
  readonly options: ResolvedMigrateOptions;
  /** Opens the main channel; with mapped-ram a `SeekableChannel`. */
  connect(signal: AbortSignal): Promise<ByteChannel>;
  /**
   * Makes the page channels; called only with multifd or mapped-ram.
   * @param live the options as they are at any time: `setParameters` changes them
   */
  createSender?(switches: ProtocolSwitches, live: Readonly<ResolvedMigrateOptions>): PageSender;
  /** Makes the compress threads; called only with compress. */
  createCompressThreads?(switches: ProtocolSwitches, live: Readonly<ResolvedMigrateOptions>): CompressThreads;
  /** Writes the pages of a main channel without multifd; `MainPages` if absent or if it gives undefined. */
  createMainPages?(channel: ByteChannel, blocks: readonly RamBlock[]): MainPageWriter | undefined;
  /** When the migration was asked for, on this thread's `performance.now()`; now if absent. */
  readonly startMs?: number;
  /** Every change of state, and what else happens. */
  onEvent?: EventSink;
  /** Whether the guest, which ran, is now stopped by the migration. */
  onGuestStopped?(stopped: boolean): void;
  /** The guest is the destination's from now on: it must not be started here again, whatever happens. */
  onHandOver?(): void;
}

/** What there is of an outgoing migration from its beginning. */
export interface SourceControl {
  /** Options, which change while it runs: to be read at each use. */
  readonly live: Readonly<ResolvedMigrateOptions>;
  readonly state: StateMachine;
  readonly guest: GuestSwitch;
  readonly stats: OutgoingStats;
  readonly watch: StallWatch;
  /** Aborted with the first error. */
  readonly signal: AbortSignal;
  /** Rejects with the first error; never resolves. */
  readonly stopped: Promise<never>;
  /** Resolves when the migration may leave `pre-switchover`. */
  readonly continued: Promise<void>;
}

/** What there is once the channels are open and the stream has begun. */
export interface SourceStream {
  readonly channel: ByteChannel;
  readonly stream: MainStreamWriter;
  readonly sender: PageSender | undefined;
  readonly returnPath: ReturnPathReader | undefined;
  readonly switches: ProtocolSwitches;
  readonly ram: RamIteration;
  readonly pacer: Pacer;
  readonly throttle: GuestThrottle;
  readonly flow: PageFlow;
}
