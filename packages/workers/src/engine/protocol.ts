import type {
  MigrationResult,
  MigrationStatus,
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
}

/** Calls back into the application's thread; `Guest` and `IncomingGuest` have them. */
type SourceCalls = Pick<Guest, 'saveDeviceState' | 'inactivate' | 'activate'>;
type DestinationCalls = Pick<IncomingGuest, 'prepare' | 'load' | 'start' | 'discard'>;

export interface Events {
  status(status: MigrationStatus): void;
  progress(progress: Progress): void;
  listening(uri: string): void;
}

export interface CoordinatorApi {
  migrate(
    guest: SourceDescription,
    calls: SourceCalls,
    uri: string,
    options: ResolvedMigrateOptions,
    progressIntervalMs: number,
    handOver: SharedArrayBuffer,
    events: Events,
  ): Promise<MigrationResult>;
  receive(
    uuid: Uint8Array | undefined,
    calls: DestinationCalls,
    uri: string,
    options: ResolvedReceiveOptions,
    progressIntervalMs: number,
    handOver: SharedArrayBuffer,
    events: Events,
  ): Promise<MigrationResult>;
  cancel(): void;
}
