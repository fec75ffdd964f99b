import type { DeviceState, Guest, GuestMemory } from '../guest/contract.ts';
import { RamBlock } from '../memory/ram-block.ts';
import { decodeRunState, GLOBAL_STATE, withRunState } from '../wire/global-state.ts';
import { machineVersion } from '../wire/machine-compat.ts';
import type { ConfigurationSection, DeviceSection } from '../wire/messages.ts';
import { type CaptureContent, knownUuid } from './capture.ts';

export interface CapturedMachineOptions {
  /** The guest's UUID, 16 bytes; by default the one that the capture's configuration holds, if it does. */
  uuid?: Uint8Array;
}

/**
 * A machine out of a capture file, as a guest to migrate away. It has no vCPUs: its RAM never changes, and
 * whether it runs at the destination is in its device state (`runState`). A migration that fails leaves it as it was.
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
  /** The run state under which it arrives; of a guest that runs when it is there, `running`. */
  runState: string;

  constructor(capture: CaptureContent, options: CapturedMachineOptions = {}) {
    this.configuration = capture.configuration;
    this.machine = capture.configuration.machine;
    this.uuid = knownUuid(options.uuid ?? capture.configuration.uuid);
    this.targetPageBits = capture.configuration.targetPageBits;
    this.ramSectionId = capture.ramSectionId;
    this.memory = {
      blocks: capture.memory.map((block) => (block instanceof RamBlock ? block.toMemory() : block)),
      dirtyLog: { kind: 'none' },
    };
    this.earlySections = capture.deviceState.early;
    this.#deviceState = capture.deviceState;
    // A guest without the section runs.
    const section = capture.deviceState.sections.find(isGlobalState);
    this.runState = section === undefined ? 'running' : (decodeRunState(section.data) ?? 'paused');
  }

  /** The oldest QEMU that has this machine type, or undefined when the type's name holds no version. */
  get minimumQemuVersion(): string | undefined {
    const version = machineVersion(this.machine);
    return version && `${version.major}.${version.minor}`;
  }

  saveDeviceState(): Promise<DeviceState> {
    const sections = this.#deviceState.sections.map((section) =>
      isGlobalState(section) && decodeRunState(section.data) !== this.runState
        ? { ...section, data: withRunState(section.data, this.runState) }
        : section,
    );
    return Promise.resolve({ ...this.#deviceState, sections });
  }

  /** There are no disks to give up. */
  inactivate(): Promise<void> {
    return Promise.resolve();
  }

  activate(): Promise<void> {
    return Promise.resolve();
  }
}

function isGlobalState({ idstr }: DeviceSection): boolean {
  return idstr === GLOBAL_STATE;
}
