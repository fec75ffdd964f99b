import type { DirtyLogMemory } from '../memory/dirty-log.ts';
import type { RamBlockMemory } from '../memory/ram-block.ts';
import type { ConfigurationSection, DeviceSection, RamBlockDescriptor } from '../wire/messages.ts';
import type { AnnounceOptions, AnnounceParameters } from './network/announce.ts';
import type { WriteTrackingMemory } from './write-tracking.ts';

/**
 * The contract between the engine and a guest.
 *
 * The hot part is shared memory, so that the coordinator thread never waits for the thread in which the
 * guest's owner lives: RAM, the dirty log and the run/stop word are in SharedArrayBuffers described by
 * `GuestMemory`. The rest (device state, disks) are asynchronous calls.
 */

/** Everything of a guest that another thread needs to read its RAM, see its writes, and stop it. */
export interface GuestMemory {
  readonly blocks: readonly RamBlockMemory[];
  /** How written pages become known. */
  readonly dirtyLog: DirtyLogMemory;
  /**
   * Where the guest's vCPUs look before each write, so that a snapshot can be taken while they run (`WriteBarrier`).
   * A guest without it cannot have the capability background-snapshot.
   */
  readonly writeTracking?: WriteTrackingMemory;
  /** The run/stop word (`RunControl`); absent for a guest without vCPUs, such as a captured machine. */
  readonly runControl?: SharedArrayBuffer;
  /** What slows the vCPUs down (`VcpuThrottle`); absent: they cannot be, and what needs it is refused. */
  readonly throttle?: SharedArrayBuffer;
  /**
   * Of a guest that is migrated to: every byte of the blocks is zero now. A page that is announced as zero and
   * for which nothing came before is then not even looked at.
   */
  readonly zeroed?: boolean;
  /**
   * Of a guest that is migrated to: it can do without blocks that are shared at the source (x-ignore-shared) and
   * not here. `load` is told which ones did not come; otherwise that is an error.
   */
  readonly partial?: boolean;
}

/** A guest's device sections, opaque, in stream order. */
export interface DeviceState {
  /** Sections sent in the setup phase, before any page (rare: virtio-mem). */
  readonly early: readonly DeviceSection[];
  /** The FULL sections after the last RAM section. */
  readonly sections: readonly DeviceSection[];
  /** The vmdescription JSON, byte for byte; absent when the stream had none. */
  readonly vmdesc?: Uint8Array;
}

/** A guest that can be migrated away. */
export interface Guest {
  /** The machine type's name, sent in the configuration section, such as `pc-i440fx-10.0`. */
  readonly machine: string;
  /** 16 bytes in RFC 4122 order; absent: the guest has none (multifd then sends zeros). */
  readonly uuid?: Uint8Array;
  /** Sent in the configuration section by machines whose CPU type has a choice (never x86). */
  readonly targetPageBits?: number;
  /** Section id that RAM is sent under; must differ from every device section's. */
  readonly ramSectionId: number;
  readonly memory: GuestMemory;
  /** Device sections that go into the setup phase, before any page (rare: virtio-mem). */
  readonly earlySections?: readonly DeviceSection[];
  /** Device state of the stopped guest. Called once per migration, after the last page was submitted. */
  saveDeviceState(): Promise<DeviceState>;
  /**
   * Gives up the disks: everything is written, and nothing more will be, so that the destination can open them. Called
   * when the vCPUs stand still, after the wait in `pre-switchover` and before the last pages and the device state.
   */
  inactivate(): Promise<void>;
  /**
   * Takes the disks back: the migration failed or was cancelled after `inactivate` was called. When it throws the
   * guest is not started again. After a migration that went well it is up to the guest's owner to call this, before
   * the guest goes on here (QEMU's `cont` in the run state postmigrate).
   */
  activate(): Promise<void>;
  /**
   * Why the guest cannot be migrated now, newest first; absent or empty: it can. Asked when a migration is asked for;
   * a guest whose blockers come and go must refuse a new one while it `isMoving`.
   */
  blockers?(): string[];
  /**
   * Ids of the devices that must leave the guest before it moves, such as the primaries of virtio-net failover pairs.
   * Read when a migration begins; with any, the two calls below must be there.
   */
  readonly primaries?: readonly string[];
  /** Asks the guest to let go of a device, and resolves when it has. */
  unplugPrimary?(deviceId: string): Promise<void>;
  /** The guest stays: takes the wish back, or plugs the device in again. Does not wait for the guest. */
  replugPrimary?(deviceId: string): Promise<void>;
  /** Sends the announcements of its NICs (QMP's announce-self); absent: it has none. */
  announceSelf?(parameters: AnnounceParameters, options?: AnnounceOptions): void;
}

/** What the destination knows before the first page. */
export interface IncomingDescription {
  readonly configuration: ConfigurationSection | undefined;
  readonly blocks: readonly RamBlockDescriptor[];
  readonly ramSectionId: number;
  /** The guest's UUID: from the configuration section, or from the first multifd handshake if not zero. */
  readonly uuid?: Uint8Array;
}

/** A guest that can be migrated to. */
export interface IncomingGuest {
  /** When set, multifd handshakes and a configuration uuid must carry exactly this. */
  readonly uuid?: Uint8Array;
  /**
   * Gives the memory for the announced blocks, in the announced order. A guest with fixed blocks checks
   * them and throws `block-mismatch`; a capture allocates them, zeroed.
   */
  prepare(description: IncomingDescription): Promise<GuestMemory>;
  /**
   * Takes the device state after the last page is in place. When it resolves the guest is safe here and
   * the source is told so (SHUT 0); when it throws the source keeps the guest (SHUT 1). `absent` names the blocks
   * that stayed at the source, see `GuestMemory.partial`.
   */
  load(state: DeviceState, absent?: readonly string[]): Promise<void>;
  /**
   * Resolves when nothing of the guest's devices wants to wait with the switch-over: with `switchover-ack` the
   * source is told so then. Without this method that is at once.
   */
  readyForSwitchover?(): Promise<void>;
  /**
   * Begins to announce the guest's NICs on this host's network, so that switches learn where it is now. Called
   * once, after `load` resolved and just before `start`; absent: it has none.
   */
  announce?(parameters: AnnounceParameters): Promise<void>;
  /**
   * Takes over the disks and starts the vCPUs, if the guest ran at the source. Called after `load` resolved.
   * @returns whether the vCPUs run now
   */
  start(): Promise<boolean>;
  /**
   * The migration failed: drop everything, so that no half-guest can be started. May come while `prepare`
   * or `load` is under way; that call then fails, and leaves nothing behind.
   */
  discard(): Promise<void>;
}
