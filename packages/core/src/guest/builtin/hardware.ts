import type { Worker } from 'node:worker_threads';
import { MigrationError } from '../../error.ts';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import { RamBlock } from '../../memory/ram-block.ts';
import { workerEntry } from '../../worker-entry.ts';
import type { GuestMemory } from '../contract.ts';
import { RunControl } from '../run-control.ts';
import { VcpuThrottle } from '../vcpu-throttle.ts';
import { createWriteTracking, type WriteTrackingMemory } from '../write-tracking.ts';
import { AuditPool } from './audit-pool.ts';
import type { MachineState } from './machine-state.ts';
import { Random } from './random.ts';
import { nextMessage, startThread } from './threads.ts';
import type { VcpuData } from './vcpu.ts';
import type { VcpuBoot } from './vcpu-worker.ts';

export const RAM_BLOCK = 'builtin.ram';
export const ROM_BLOCK = 'builtin.rom';
export const ROM_BYTES = 64 * 1024;

/** Long enough for a vCPU that waits for a processor; a vCPU reaches its checkpoint within microseconds. */
const STOP_TIMEOUT_MS = 5000;

/** RAM, ROM, and the threads of the vCPUs: what source and destination have in common. */
export class Hardware {
  readonly ram: RamBlock;
  readonly rom: RamBlock;
  readonly audit = new AuditPool();
  readonly #logs: ReadonlyMap<RamBlock, SharedArrayBuffer>;
  readonly #writeTracking: WriteTrackingMemory;
  #control: RunControl | undefined;
  #throttle: VcpuThrottle | undefined;
  #state: MachineState | undefined;
  #vcpus: Worker[] = [];
  #failure: MigrationError | undefined;
  #ended = false;

  /** @throws MigrationError `limit-exceeded` when there is not that much memory. */
  constructor(memoryBytes: number) {
    try {
      this.ram = RamBlock.allocate(RAM_BLOCK, memoryBytes);
    } catch (error) {
      throw new MigrationError('limit-exceeded', `no memory for a guest of ${memoryBytes} bytes`, {
        cause: error,
      });
    }
    this.rom = RamBlock.allocate(ROM_BLOCK, ROM_BYTES);
    this.#logs = new Map(
      [this.ram, this.rom].map((block) => [block, new DirtyBitmap(block.pageCount).buffer]),
    );
    this.#writeTracking = createWriteTracking([this.ram, this.rom]);
  }

  /** The guest's memory with its blocks in the given order. */
  memory(names: readonly string[] = [RAM_BLOCK, ROM_BLOCK]): GuestMemory {
    const blocks = names.map((name) => (name === RAM_BLOCK ? this.ram : this.rom));
    const { blocks: tracked, ...writeTracking } = this.#writeTracking;
    return {
      blocks: blocks.map((block) => block.toMemory()),
      dirtyLog: { kind: 'write-barrier', bitmaps: blocks.map((block) => this.#logs.get(block)!) },
      writeTracking: { ...writeTracking, blocks: names.map((name) => tracked[name === RAM_BLOCK ? 0 : 1]!) },
      runControl: this.#control?.buffer,
      throttle: this.#throttle?.buffer,
    };
  }

  get vcpus(): number {
    return this.#vcpus.length;
  }

  get state(): MachineState {
    if (this.#state === undefined) throw new MigrationError('internal', 'the machine has no vCPUs');
    return this.#state;
  }

  get control(): RunControl {
    if (this.#control === undefined) throw new MigrationError('internal', 'the machine has no vCPUs');
    return this.#control;
  }

  /**
   * Starts a thread for each vCPU of `state`, in place of those that there are, and resolves when each has
   * prepared its pages and waits to run.
   * @throws MigrationError `guest-failed`
   */
  async plugVcpus(state: MachineState, boot: VcpuBoot): Promise<void> {
    await this.#unplugVcpus();
    this.#assertUsable();
    const control = RunControl.create(state.vcpus);
    const throttle = VcpuThrottle.create(state.vcpus);
    this.#control = control;
    this.#throttle = throttle;
    this.#state = state;
    const workers: Worker[] = [];
    this.#vcpus = workers;
    for (let vcpu = 0; vcpu < state.vcpus; vcpu++) {
      const data: VcpuData & { boot: VcpuBoot } = {
        vcpu,
        boot,
        ram: this.ram.toMemory(),
        log: this.#logs.get(this.ram)!,
        writeTracking: this.#writeTracking,
        runControl: control.buffer,
        throttle: throttle.buffer,
        state: state.buffer,
      };
      const worker = startThread(workerEntry(import.meta.url, './vcpu-worker'), `builtin-vcpu ${vcpu}`, data);
      const died = (cause?: Error): void => {
        if (this.#vcpus !== workers || this.#ended) return;
        const why = cause === undefined ? 'ended' : `failed: ${cause.message}`;
        this.#failure ??= new MigrationError('guest-failed', `the thread of vCPU ${vcpu} ${why}`, { cause });
        control.retire(vcpu);
      };
      worker.on('error', died);
      worker.on('exit', () => died());
      workers.push(worker);
    }
    await Promise.all(workers.map((worker) => nextMessage(worker)));
  }

  /** Lets the vCPUs run.
   * @throws MigrationError `guest-failed` when one of them died or the machine is closed */
  run(): void {
    this.#assertUsable();
    this.control.start();
  }

  /** Stops the vCPUs.
   * @throws MigrationError `guest-failed` */
  async halt(): Promise<void> {
    const stopped = await this.control.stop(STOP_TIMEOUT_MS);
    this.#assertUsable();
    if (!stopped)
      throw new MigrationError('guest-failed', `a vCPU did not stop within ${STOP_TIMEOUT_MS} ms`);
  }

  /** @throws MigrationError `guest-failed` when a vCPU died or the machine is closed */
  assertStopped(): void {
    this.#assertUsable();
    if (this.control.running) throw new MigrationError('guest-failed', 'the machine is running');
  }

  /** Ends all threads. */
  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all([this.#unplugVcpus(), this.audit.end()]);
  }

  async #unplugVcpus(): Promise<void> {
    const workers = this.#vcpus;
    this.#vcpus = [];
    // A vCPU between two writes is easier to end than one in its loop.
    if (workers.length > 0) await this.#control?.stop(STOP_TIMEOUT_MS);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  #assertUsable(): void {
    if (this.#ended) throw new MigrationError('guest-failed', 'the machine is closed');
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** Incompressible bytes that depend on the seed alone. */
export function fillRom(rom: RamBlock, seed: number): void {
  const random = new Random(seed ^ 0x726f6d);
  const words = new Int32Array(rom.buffer, rom.byteOffset, rom.usedLengthBytes / 4);
  for (let word = 0; word < words.length; word++) words[word] = random.next();
}

/** The first byte that differs from what `fillRom` wrote, or -1. */
export function romDifference(rom: RamBlock, seed: number): number {
  const expected = RamBlock.allocate(rom.idstr, rom.usedLengthBytes);
  fillRom(expected, seed);
  return rom.bytes.findIndex((byte, at) => byte !== expected.bytes[at]);
}
