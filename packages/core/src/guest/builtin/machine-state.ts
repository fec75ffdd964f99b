import type { MachineConfig } from './options.ts';
import { Random } from './random.ts';

/**
 * What the threads of a built-in machine share besides RAM: its configuration and the state of each vCPU.
 * A vCPU reads both when it begins to run and writes its state before it acknowledges a stop, so while
 * the machine is stopped everything is here.
 *
 *   offset 0   f64 dirtied bytes per second, all vCPUs; i32 vCPUs, workload, content, seed; i32 working-set
 *              pages of all vCPUs
 *   64+64*i    state of vCPU i: f64 writes; i32 sum of the versions of its pages, modulo 2^32; i32 cursor;
 *              i32[4] random generator
 */
const VCPU_BYTES = 64;
const VCPU_COUNT = 2;
const WORKLOAD = 3;
const CONTENT = 4;
const SEED = 5;
const WORKING_SET = 6;

/** The registers of a stopped vCPU. */
export interface VcpuState {
  readonly writes: number;
  readonly versionSum: number;
  readonly cursor: number;
  /** Four words of the random generator. */
  readonly random: Int32Array;
}

export class MachineState {
  readonly buffer: SharedArrayBuffer;
  readonly #doubles: Float64Array<SharedArrayBuffer>;
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#doubles = new Float64Array(buffer);
    this.#words = new Int32Array(buffer);
  }

  /** The state of `vcpus` vCPUs that have never run. */
  static create(vcpus: number): MachineState {
    const state = new MachineState(new SharedArrayBuffer(VCPU_BYTES * (vcpus + 1)));
    state.#words[VCPU_COUNT] = vcpus;
    return state;
  }

  /** Sets what the vCPUs do, from their next start on. */
  configure(config: MachineConfig): void {
    this.#doubles[0] = config.dirtyRateBytesPerSecond;
    this.#words[WORKLOAD] = config.workload;
    this.#words[CONTENT] = config.content;
    this.#words[SEED] = config.seed;
    this.#words[WORKING_SET] = config.workingSetPages;
  }

  get vcpus(): number {
    return this.#words[VCPU_COUNT]!;
  }

  get dirtyRateBytesPerSecond(): number {
    return this.#doubles[0]!;
  }

  /** Index in `WORKLOADS`. */
  get workload(): number {
    return this.#words[WORKLOAD]!;
  }

  /** Index in `CONTENT_MIXES`. */
  get content(): number {
    return this.#words[CONTENT]!;
  }

  get seed(): number {
    return this.#words[SEED]!;
  }

  get workingSetPages(): number {
    return this.#words[WORKING_SET]!;
  }

  /** Gives each vCPU a generator of its own. */
  seedVcpus(): void {
    for (let vcpu = 0; vcpu < this.vcpus; vcpu++) {
      const random = new Int32Array(4);
      new Random(this.seed + vcpu * 0x9e37).save(random, 0);
      this.saveVcpu(vcpu, { writes: 0, versionSum: 0, cursor: 0, random });
    }
  }

  vcpu(vcpu: number): VcpuState {
    const at = (VCPU_BYTES / 4) * (vcpu + 1);
    return {
      writes: this.#doubles[at / 2]!,
      versionSum: this.#words[at + 2]!,
      cursor: this.#words[at + 3]!,
      random: this.#words.slice(at + 4, at + 8),
    };
  }

  saveVcpu(vcpu: number, state: VcpuState): void {
    const at = (VCPU_BYTES / 4) * (vcpu + 1);
    this.#doubles[at / 2] = state.writes;
    this.#words[at + 2] = state.versionSum;
    this.#words[at + 3] = state.cursor;
    this.#words.set(state.random, at + 4);
  }

  /** Writes done so far by all vCPUs; while they run, a little behind. */
  get writes(): number {
    let writes = 0;
    for (let vcpu = 0; vcpu < this.vcpus; vcpu++) writes += this.#doubles[(VCPU_BYTES / 8) * (vcpu + 1)]!;
    return writes;
  }

  /** The count of writes alone, for whoever watches a running machine. */
  publishWrites(vcpu: number, writes: number): void {
    this.#doubles[(VCPU_BYTES / 8) * (vcpu + 1)] = writes;
  }
}
