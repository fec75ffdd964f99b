import type { DeviceState, Guest, GuestMemory } from '../guest/contract.ts';
import { machineVersion } from '../wire/machine-compat.ts';
import type { ConfigurationSection, DeviceSection } from '../wire/messages.ts';
import { type Capture, knownUuid } from './capture.ts';

export interface CapturedMachineOptions {
  /** The guest's UUID, 16 bytes; by default the one that the capture's configuration holds, if it does. */
  uuid?: Uint8Array;
}

/**
 * A machine out of a capture file, as a guest to migrate away. It has no vCPUs: its RAM never changes, and
 * whether it runs at the destination is in its device state (`globalstate`). A migration that fails leaves it as it was.
 */
export class CapturedMachine implements Guest {
  readonly machine: string;
  readonly uuid?: Uint8Array;
  readonly targetPageBits?: number;
  readonly ramSectionId: number;
  readonly memory: GuestMemory;
  readonly earlySections: readonly DeviceSection[];
  /** As it was captured; the engine writes its own capabilities for each transfer. */
  readonly configuration: ConfigurationSection;
  readonly #deviceState: DeviceState;

  constructor(capture: Capture, options: CapturedMachineOptions = {}) {
    this.configuration = capture.configuration;
    this.machine = capture.configuration.machine;
    this.uuid = knownUuid(options.uuid ?? capture.configuration.uuid);
    this.targetPageBits = capture.configuration.targetPageBits;
    this.ramSectionId = capture.ramSectionId;
    this.memory = {
      blocks: capture.memory.map((block) => block.toMemory()),
      dirtyLog: { kind: 'none' },
    };
    this.earlySections = capture.deviceState.early;
    this.#deviceState = capture.deviceState;
  }

  /** The oldest QEMU that has this machine type, or undefined when the type's name holds no version. */
  get minimumQemuVersion(): string | undefined {
    const version = machineVersion(this.machine);
    return version && `${version.major}.${version.minor}`;
  }

  saveDeviceState(): Promise<DeviceState> {
    return Promise.resolve(this.#deviceState);
  }

  /** There are no disks to give up. */
  inactivate(): Promise<void> {
    return Promise.resolve();
  }

  activate(): Promise<void> {
    return Promise.resolve();
  }
}
