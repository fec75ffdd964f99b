import { MigrationError } from '../error.ts';
import type { DeviceState, GuestMemory, IncomingDescription, IncomingGuest } from '../guest/contract.ts';
import type { RamBlock } from '../memory/ram-block.ts';
import { allocateBlocks, leaveOut } from './allocate.ts';
import { type CaptureContent, knownUuid } from './capture.ts';
import { configurationToKeep } from './configuration.ts';
import { CapturedMachine } from './machine.ts';

export interface HeldTargetOptions {
  /** The UUID that the guest must have, 16 bytes. */
  uuid?: Uint8Array;
  /** Limit of the guest's RAM in bytes. */
  maxRamBytes?: number;
}

/** A destination that takes any guest and holds it in memory, from where it can be migrated on. */
export class HeldTarget implements IncomingGuest {
  readonly uuid?: Uint8Array;
  readonly #maxRamBytes: number | undefined;
  #prepared: (Omit<CaptureContent, 'deviceState'> & { memory: readonly RamBlock[] }) | undefined;
  #machine: CapturedMachine | undefined;

  constructor({ uuid, maxRamBytes }: HeldTargetOptions = {}) {
    this.uuid = knownUuid(uuid);
    this.#maxRamBytes = maxRamBytes;
  }

  /**
   * The guest that has arrived.
   * @throws MigrationError `guest-failed` before `load` has resolved
   */
  get machine(): CapturedMachine {
    if (this.#machine === undefined) throw new MigrationError('guest-failed', 'the guest has not arrived');
    return this.#machine;
  }

  /** @throws MigrationError `uuid-mismatch`, `unsupported`, `bad-configuration`, `limit-exceeded` */
  async prepare(description: IncomingDescription): Promise<GuestMemory> {
    const configuration = configurationToKeep(description, this.uuid);
    const { ramSectionId } = description;
    const memory = allocateBlocks(description.blocks, this.#maxRamBytes);
    this.#prepared = { configuration, memory, ramSectionId };
    const blocks = memory.map((block) => block.toMemory());
    return { blocks, dirtyLog: { kind: 'none' }, zeroed: true, partial: true };
  }

  async load(deviceState: DeviceState, absent: readonly string[] = []): Promise<void> {
    if (this.#prepared === undefined) {
      throw new MigrationError('guest-failed', 'the guest is not waiting for its state');
    }
    const { configuration, ramSectionId } = this.#prepared;
    const memory = leaveOut(this.#prepared.memory, absent);
    this.#machine = new CapturedMachine({ configuration, ramSectionId, memory, deviceState });
  }

  /** Nothing runs here. */
  start(): Promise<boolean> {
    return Promise.resolve(false);
  }

  async discard(): Promise<void> {
    this.#prepared = undefined;
    this.#machine = undefined;
  }
}
