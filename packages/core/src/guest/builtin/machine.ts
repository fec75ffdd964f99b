import { MigrationError } from '../../error.ts';
import type { DeviceState, Guest, GuestMemory } from '../contract.ts';
import { isMoving } from '../moving.ts';
import type { AnnounceOptions, AnnounceParameters } from '../network/announce.ts';
import { formatMac } from '../network/mac.ts';
import { newHashKey } from './audit-pool.ts';
import { addProblem, addReport, type CheckReport, emptyReport } from './check.ts';
import { BUILTIN_MACHINE, encodeMachine, RAM_SECTION_ID } from './device-state.ts';
import { fillRom, Hardware, romDifference } from './hardware.ts';
import { MachineState } from './machine-state.ts';
import { Nic } from './nic.ts';
import { type BuiltinMachineOptions, type MachineConfig, machineConfig } from './options.ts';

/** What a machine is made of, by `create` or by a migration. */
export interface MachineParts {
  readonly hardware: Hardware;
  readonly memory: GuestMemory;
  readonly config: MachineConfig;
  readonly uuid?: Uint8Array;
  readonly nic?: Nic | undefined;
}

/**
 * A guest made of threads: its vCPUs are workers that write its RAM at a set rate and keep books about it, so
 * that the guest itself can tell, wherever it runs, whether every one of its writes is there.
 */
export class BuiltinMachine implements Guest {
  readonly machine = BUILTIN_MACHINE;
  readonly uuid: Uint8Array | undefined;
  readonly ramSectionId = RAM_SECTION_ID;
  readonly memory: GuestMemory;
  readonly #hardware: Hardware;
  readonly #config: MachineConfig;
  readonly #nic: Nic | undefined;
  /** What its owner wants; a migration stops and starts it without changing that. */
  #started = false;
  /** A migration takes it away, or has done so. */
  #inactive = false;
  #verifyMs = 0;
  /** Newest first. */
  #blockers: { readonly reason: string }[] = [];

  /** For `create` and `BuiltinMachineTarget`. */
  constructor(parts: MachineParts) {
    this.#hardware = parts.hardware;
    this.memory = parts.memory;
    this.#config = parts.config;
    this.uuid = parts.uuid;
    this.#nic = parts.nic;
  }

  /**
   * Makes a machine and fills its RAM; it does not run yet.
   * @throws MigrationError `bad-option`, `limit-exceeded` (no memory), `guest-failed`
   */
  static async create(options: BuiltinMachineOptions): Promise<BuiltinMachine> {
    const config = machineConfig(options);
    const nic = options.nic && Nic.create(options.nic);
    const hardware = new Hardware(options.memoryBytes);
    try {
      const state = MachineState.create(config.vcpus);
      state.configure(config);
      state.seedVcpus();
      fillRom(hardware.rom, config.seed);
      if (config.verify) hardware.audit.start();
      await hardware.plugVcpus(state, options.preallocate ? 'touch-and-fill' : 'fill');
      return new BuiltinMachine({ hardware, memory: hardware.memory(), config, uuid: options.uuid, nic });
    } catch (error) {
      await hardware.end();
      throw error;
    }
  }

  /** Milliseconds that the last `saveDeviceState` spent hashing RAM; 0 without `verify`. */
  get verifyMs(): number {
    return this.#verifyMs;
  }

  /** Writes done by the workload since the machine was created, wherever it ran. */
  get writes(): number {
    return this.#hardware.state.writes;
  }

  /**
   * Lets the vCPUs run.
   * @throws MigrationError `guest-failed` when a vCPU's thread died or the machine is closed; `bad-state` once a migration
   * has taken it away, until `activate` takes it back
   */
  start(): void {
    if (this.#inactive) {
      throw new MigrationError('bad-state', 'the machine is given up to a destination, and may run there', {
        expected: 'activate() before it runs here again',
      });
    }
    this.#hardware.run();
    this.#started = true;
  }

  /** Stops the vCPUs and waits for them.
   * @throws MigrationError `guest-failed` */
  async stop(): Promise<void> {
    this.#started = false;
    await this.#hardware.halt();
  }

  running(): boolean {
    return this.#hardware.control.running;
  }

  /**
   * Compares all of RAM with the books that the vCPUs kept. A running machine is stopped for it and runs on
   * afterwards, so this is not for the time in which it is being migrated.
   * @throws MigrationError `guest-failed` when a vCPU's thread died or the machine is closed
   */
  async check(): Promise<CheckReport> {
    const ran = this.running();
    await this.#hardware.halt();
    try {
      return await this.#checkStopped();
    } finally {
      if (ran) this.#hardware.run();
    }
  }

  async #checkStopped(): Promise<CheckReport> {
    const { ram, rom, state, audit } = this.#hardware;
    const total = emptyReport();
    const reports = await audit.check(ram.toMemory(), state.vcpus);
    for (const [vcpu, report] of reports.entries()) {
      addReport(total, report);
      const expected = state.vcpu(vcpu).versionSum;
      if (report.versionSum !== expected) {
        addProblem(
          total,
          `the ledger of vCPU ${vcpu} has lost writes: sum ${report.versionSum}, not ${expected}`,
        );
      }
    }
    const difference = romDifference(rom, this.#config.seed);
    if (difference >= 0) addProblem(total, `${rom.idstr} has changed at byte ${difference}`);
    const { pagesChecked, problemCount, problems } = total;
    const left = problemCount - problems.length;
    if (left > 0) problems.push(`and ${left} more`);
    return { ok: problemCount === 0, pagesChecked, writes: state.writes, problems };
  }

  /** @throws MigrationError `guest-failed` when the machine is running or dead */
  async saveDeviceState(): Promise<DeviceState> {
    this.#hardware.assertStopped();
    const { state, audit } = this.#hardware;
    const vcpus = Array.from({ length: state.vcpus }, (_, vcpu) => state.vcpu(vcpu));
    const image = { config: this.#config, vcpus, running: this.#started, mac: this.#nic?.mac };
    if (!this.#config.verify) return encodeMachine(image);
    const key = newHashKey();
    const before = performance.now();
    const blocks = await audit.hash(this.memory.blocks, key);
    this.#verifyMs = performance.now() - before;
    return encodeMachine({ ...image, verify: { key, blocks } });
  }

  /** MAC address of the NIC; undefined without one. */
  get mac(): string | undefined {
    return this.#nic && formatMac(this.#nic.mac);
  }

  /**
   * Announces the machine by its NIC, now and as often as it is told. Without a NIC it does nothing.
   * @throws MigrationError `bad-option` for numbers that cannot be
   */
  announceSelf(parameters: AnnounceParameters, options: AnnounceOptions = {}): void {
    // An announcement without an id replaces the one before, but not that of a migration.
    this.#nic?.announce(parameters, { id: '', ...options });
  }

  blockers(): string[] {
    return this.#blockers.map(({ reason }) => reason);
  }

  /**
   * Keeps the machine from being migrated.
   *
   * @param reason what `migrate` then fails with
   * @returns takes the blocker away
   * @throws MigrationError `bad-state` while it is being migrated
   */
  addBlocker(reason: string): () => void {
    if (isMoving(this)) {
      throw new MigrationError('bad-state', `a migration is under way, which cannot be blocked: ${reason}`);
    }
    const blocker = { reason };
    this.#blockers.unshift(blocker);
    return () => {
      this.#blockers = this.#blockers.filter((other) => other !== blocker);
    };
  }

  /**
   * There are no disks whose ownership would change, but the machine itself is given up.
   * @throws MigrationError `guest-failed` when it is running or dead
   */
  async inactivate(): Promise<void> {
    this.#hardware.assertStopped();
    this.#inactive = true;
  }

  async activate(): Promise<void> {
    this.#inactive = false;
  }

  /** Ends all threads; the machine cannot be used afterwards. */
  async close(): Promise<void> {
    await Promise.all([this.#hardware.end(), this.#nic?.close()]);
  }
}
