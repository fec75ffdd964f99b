import type {
  CodecBackend,
  LiveParameters,
  MigrationEvent,
  MigrationResult,
  MultifdCompression,
  Progress,
  ResolvedMigrateOptions,
  ResolvedReceiveOptions,
} from '@pageferry/core/control';
import type { Guest, GuestMemory, IncomingGuest } from '@pageferry/core/guest';
import type { DeviceSection } from '@pageferry/core/wire';

/** What goes between the application's thread and the coordinator's. */

/** The plain part of a guest that migrates away. */
export interface SourceDescription {
  readonly machine: string;
  readonly uuid?: Uint8Array;
  readonly targetPageBits?: number;
  readonly ramSectionId: number;
  readonly memory: GuestMemory;
  readonly earlySections?: readonly DeviceSection[];
  readonly primaries?: readonly string[];
}

/** Calls back into the application's thread; `Guest` and `IncomingGuest` have them. */
export type SourceCalls = Required<
  Pick<Guest, 'saveDeviceState' | 'inactivate' | 'activate' | 'unplugPrimary' | 'replugPrimary'>
>;
type DestinationCalls = Required<
  Pick<IncomingGuest, 'prepare' | 'readyForSwitchover' | 'load' | 'announce' | 'start' | 'discard'>
>;

/** The plain part of a guest that is migrated to. */
interface DestinationDescription {
  readonly uuid: Uint8Array | undefined;
  /** Whether it has a say in when the source may switch over. */
  readonly delaysSwitchover: boolean;
}

export interface Events {
  event(event: MigrationEvent): void;
  progress(progress: Progress): void;
  listening(uri: string): void;
}

/** What a coordinator can have ready before its migration. */
export interface Preparation {
  readonly direction: 'outgoing' | 'incoming';
  /** Page channels; 0 when the pages travel on the main channel. */
  readonly channels: number;
  readonly mappedRam: boolean;
  readonly compression: MultifdCompression;
  readonly level: number | undefined;
  readonly backend: CodecBackend | undefined;
}

export interface CoordinatorApi {
  /** Starts and warms the channels' threads; the migration that follows has the same settings. */
  prepare(preparation: Preparation): Promise<void>;
  migrate(
    guest: SourceDescription,
    calls: SourceCalls,
    uri: string,
    options: ResolvedMigrateOptions,
    /** When the application asked for it, ms since the epoch. */
    calledAtMs: number,
    progressIntervalMs: number,
    handOver: SharedArrayBuffer,
    events: Events,
  ): Promise<MigrationResult>;
  receive(
    guest: DestinationDescription,
    calls: DestinationCalls,
    uri: string,
    options: ResolvedReceiveOptions,
    progressIntervalMs: number,
    handOver: SharedArrayBuffer,
    events: Events,
  ): Promise<MigrationResult>;
  cancel(): void;
  /** Undefined before the migration has begun. */
  query(): Progress | undefined;
  setParameters(changes: LiveParameters): void;
  continue(): void;
}
