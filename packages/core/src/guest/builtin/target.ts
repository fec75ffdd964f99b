import { totalmem } from 'node:os';
import { MigrationError } from '../../error.ts';
import { TARGET_PAGE_BYTES } from '../../memory/ram-block.ts';
import type { RamBlockDescriptor } from '../../wire/messages.ts';
import type { DeviceState, GuestMemory, IncomingDescription, IncomingGuest } from '../contract.ts';
import type { AnnounceParameters } from '../network/announce.ts';
import type { NetworkBackend } from '../network/backend.ts';
import { BUILTIN_MACHINE, decodeMachine } from './device-state.ts';
import { Hardware, RAM_BLOCK, ROM_BLOCK, ROM_BYTES } from './hardware.ts';
import { compareHashes } from './hash.ts';
import { BuiltinMachine } from './machine.ts';
import { MachineState } from './machine-state.ts';
import { Nic } from './nic.ts';
import { checkMemoryBytes, checkUuid, checkVcpus } from './options.ts';
import type { VcpuBoot } from './vcpu-worker.ts';

export interface BuiltinMachineTargetOptions {
  /**
   * Size of the RAM that will come; any other is refused. `warmUp` then allocates and touches it, so that
   * the migration does not wait for the kernel to provide it. By default the stream decides.
   */
  readonly memoryBytes?: number;
  /** vCPUs whose threads are started beforehand; 1 by default. When another number comes, the switch-over
   * waits for them to start. */
  readonly vcpus?: number;
  /** When set, the source's must be exactly this. */
  readonly uuid?: Uint8Array;
  /** Where the frames of the machine's NIC go on this host; nowhere by default. Closed with the machine. */
  readonly network?: NetworkBackend;
}

/** The destination of a built-in machine: memory and waiting threads, and a machine once `load` resolved. */
export class BuiltinMachineTarget implements IncomingGuest {
  readonly uuid: Uint8Array | undefined;
  readonly #memoryBytes: number | undefined;
  readonly #vcpus: number;
  readonly #network: NetworkBackend | undefined;
  #hardware: Hardware | undefined;
  #equipped: Promise<Hardware> | undefined;
  #blocks: GuestMemory['blocks'] = [];
  #sourceUuid: Uint8Array | undefined;
  #machine: BuiltinMachine | undefined;
  #nic: Nic | undefined;
  #ranAtSource = false;
  #verifyMs = 0;
  #discarded = false;

  /** @throws MigrationError `bad-option` */
  constructor(options: BuiltinMachineTargetOptions = {}) {
    const { memoryBytes, vcpus = 1, uuid, network } = options;
    checkVcpus(vcpus);
    checkUuid(uuid);
    if (memoryBytes !== undefined) checkMemoryBytes(memoryBytes, vcpus);
    this.#memoryBytes = memoryBytes;
    this.#vcpus = vcpus;
    this.uuid = uuid;
    this.#network = network;
  }

  /**
   * The machine that has arrived.
   * @throws MigrationError `guest-failed` before `load` has resolved
   */
  get machine(): BuiltinMachine {
    if (this.#machine === undefined) throw new MigrationError('guest-failed', 'the machine has not arrived');
    return this.#machine;
  }

  /** Milliseconds that `load` spent hashing RAM; 0 when the source sent no hashes. */
  get verifyMs(): number {
    return this.#verifyMs;
  }

  /**
   * Allocates and touches the memory and starts the threads, if the size is known: what can be done before a
   * migration begins. `discard` undoes it.
   * @throws MigrationError `limit-exceeded`, `guest-failed`
   */
  async warmUp(): Promise<void> {
    if (this.#memoryBytes !== undefined) await this.#equip(this.#memoryBytes, 'touch');
  }

  async prepare(description: IncomingDescription): Promise<GuestMemory> {
    const machine = description.configuration?.machine;
    if (machine !== undefined && machine !== BUILTIN_MACHINE) {
      throw new MigrationError('bad-configuration', 'the source is another kind of machine', {
        found: machine,
        expected: BUILTIN_MACHINE,
      });
    }
    if (this.#blocks.length > 0) throw new MigrationError('internal', 'the target was prepared before');
    this.#sourceUuid = description.uuid;
    const hardware = await this.#equip(this.#checkBlocks(description.blocks), 'none');
    const memory = hardware.memory(description.blocks.map(({ idstr }) => idstr));
    this.#blocks = memory.blocks;
    return { ...memory, zeroed: true };
  }

  async load(state: DeviceState): Promise<void> {
    const hardware = this.#hardware;
    if (hardware === undefined || this.#discarded || this.#machine !== undefined) {
      throw new MigrationError('guest-failed', 'the machine is not waiting for its state');
    }
    const image = decodeMachine(state, hardware.ram.usedLengthBytes);
    if (image.verify !== undefined) {
      const before = performance.now();
      const found = await hardware.audit.hash(this.#blocks, image.verify.key);
      this.#verifyMs = performance.now() - before;
      compareHashes(found, image.verify.blocks);
    }
    const { config, vcpus } = image;
    if (hardware.state.vcpus !== vcpus.length) {
      await hardware.plugVcpus(MachineState.create(vcpus.length), 'none');
    }
    hardware.state.configure(config);
    for (const [index, vcpu] of vcpus.entries()) hardware.state.saveVcpu(index, vcpu);
    hardware.assertStopped();
    const memory = hardware.memory(this.#blocks.map(({ idstr }) => idstr));
    // Without a NIC the machine has no use for the back end.
    if (image.mac === undefined) await this.#network?.close();
    else this.#nic = new Nic(image.mac, this.#network);
    const uuid = this.uuid ?? this.#sourceUuid;
    this.#machine = new BuiltinMachine({ hardware, memory, config, uuid, nic: this.#nic });
    this.#ranAtSource = image.running;
  }

  async announce(parameters: AnnounceParameters): Promise<void> {
    this.#nic?.announce(parameters);
  }

  async start(): Promise<boolean> {
    const machine = this.machine;
    if (this.#ranAtSource) machine.start();
    return this.#ranAtSource;
  }

  async discard(): Promise<void> {
    this.#discarded = true;
    this.#machine = undefined;
    const hardware = this.#hardware;
    this.#hardware = undefined;
    this.#blocks = [];
    await Promise.all([hardware?.end(), this.#network?.close()]);
    await this.#equipped?.catch(() => {});
    this.#equipped = undefined;
  }

  /** Allocates memory and starts the threads, once. */
  #equip(memoryBytes: number, boot: VcpuBoot): Promise<Hardware> {
    if (this.#discarded)
      return Promise.reject(new MigrationError('guest-failed', 'the machine was discarded'));
    this.#equipped ??= (async () => {
      const hardware = new Hardware(memoryBytes);
      this.#hardware = hardware;
      hardware.audit.start();
      await hardware.plugVcpus(MachineState.create(this.#vcpus), boot);
      return hardware;
    })();
    return this.#equipped;
  }

  /** Returns the size of the RAM.
   * @throws MigrationError `block-mismatch`, `limit-exceeded` */
  #checkBlocks(blocks: readonly RamBlockDescriptor[]): number {
    const lengths = new Map(blocks.map(({ idstr, usedLengthBytes }) => [idstr, usedLengthBytes]));
    if (blocks.length !== 2 || lengths.size !== 2 || !lengths.has(RAM_BLOCK) || !lengths.has(ROM_BLOCK)) {
      throw new MigrationError('block-mismatch', 'the source has other RAM blocks', {
        found: blocks
          .slice(0, 8)
          .map(({ idstr }) => idstr)
          .join(', '),
        expected: `${RAM_BLOCK}, ${ROM_BLOCK}`,
      });
    }
    const ramBytes = lengths.get(RAM_BLOCK)!;
    const unaligned = blocks.find(({ usedLengthBytes }) => usedLengthBytes % TARGET_PAGE_BYTES !== 0);
    if (unaligned !== undefined) {
      throw new MigrationError('block-mismatch', `RAM block ${unaligned.idstr} is not made of whole pages`, {
        found: `${unaligned.usedLengthBytes} bytes`,
      });
    }
    const limit = totalmem();
    if (this.#memoryBytes === undefined && ramBytes > limit) {
      throw new MigrationError('limit-exceeded', `RAM block ${RAM_BLOCK} is larger than this host's memory`, {
        found: String(ramBytes),
        expected: `at most ${limit} bytes`,
      });
    }
    const expected = [
      { idstr: RAM_BLOCK, bytes: this.#memoryBytes ?? ramBytes },
      { idstr: ROM_BLOCK, bytes: ROM_BYTES },
    ];
    for (const { idstr, bytes } of expected) {
      if (lengths.get(idstr) === bytes) continue;
      throw new MigrationError('block-mismatch', `RAM block ${idstr} has another size`, {
        found: `${lengths.get(idstr)} bytes`,
        expected: `${bytes} bytes`,
      });
    }
    return ramBytes;
  }
}
