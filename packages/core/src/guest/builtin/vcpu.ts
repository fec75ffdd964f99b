import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import { type RamBlockMemory, TARGET_PAGE_BYTES } from '../../memory/ram-block.ts';
import { RunControl } from '../run-control.ts';
import { VcpuBrake } from '../vcpu-brake.ts';
import { VcpuThrottle } from '../vcpu-throttle.ts';
import { WriteBarrier, type WriteTrackingMemory } from '../write-tracking.ts';
import { CONTENT_MIXES, ContentKind, ContentWriter, initialKind, writtenKind } from './content.ts';
import {
  PAGE_WORDS,
  RamWords,
  type VcpuPages,
  VERSION_MASK,
  vcpuPages,
  wordOf,
  ZERO_ENTRY,
} from './layout.ts';
import { MachineState } from './machine-state.ts';
import { WORKLOADS } from './options.ts';
import { composePage, type PageWriter, rewritePart } from './page-format.ts';
import { Random } from './random.ts';

/** Everything that a vCPU's thread is given; all memory is shared. */
export interface VcpuData {
  readonly vcpu: number;
  readonly ram: RamBlockMemory;
  /** The dirty log of `ram`. */
  readonly log: SharedArrayBuffer;
  /** `ram` is its first block. */
  readonly writeTracking: WriteTrackingMemory;
  readonly runControl: SharedArrayBuffer;
  readonly throttle: SharedArrayBuffer;
  readonly state: SharedArrayBuffer;
}

/** The pause between two bursts of writes; short, so that a page's chance to be dirty is the same at any time. */
const SLICE_MS = 2;
/** A vCPU that could not run makes up for at most this much. */
const CATCH_UP_MS = 20;

/** Writes between two looks at the clock. */
const BURST = 256;

/** A virtual CPU: writes its pages at its share of the rate, each write followed by its mark. */
export class Vcpu {
  readonly #vcpu: number;
  readonly #pages: VcpuPages;
  readonly #ram: RamWords;
  readonly #log: DirtyBitmap;
  readonly #barrier: WriteBarrier;
  readonly #control: RunControl;
  readonly #brake: VcpuBrake;
  readonly #state: MachineState;
  readonly #random = new Random(0);
  readonly #writer: PageWriter = { content: new ContentWriter(), random: this.#random };
  #writes = 0;
  #versionSum = 0;
  #cursor = 0;

  constructor(data: VcpuData) {
    const pageCount = data.ram.usedLengthBytes / TARGET_PAGE_BYTES;
    this.#vcpu = data.vcpu;
    this.#control = new RunControl(data.runControl);
    this.#state = new MachineState(data.state);
    this.#pages = vcpuPages(pageCount, this.#state.vcpus, data.vcpu);
    const { count, ledgerCount } = this.#pages;
    this.#brake = new VcpuBrake(new VcpuThrottle(data.throttle), data.vcpu, count + ledgerCount);
    this.#ram = new RamWords(data.ram.buffer, data.ram.byteOffset, pageCount);
    this.#log = new DirtyBitmap(pageCount, data.log);
    this.#barrier = new WriteBarrier(
      data.writeTracking,
      data.writeTracking.blocks[0]!,
      data.ram,
      this.#control,
    );
  }

  /** Gives all pages of this vCPU, which are new and zero, memory of their own. */
  touch(): void {
    const { first, count, ledgerFirst, ledgerCount } = this.#pages;
    for (let page = first; page < first + count; page++) this.#touch(page);
    for (let page = ledgerFirst; page < ledgerFirst + ledgerCount; page++) this.#touch(page);
  }

  /**
   * A plain store: an atomic operation would read first, and the kernel would map its page of zeros only to
   * replace it at once, which takes three times as long.
   */
  #touch(page: number): void {
    this.#ram.bank(page)[wordOf(page)] = 0;
  }

  /** Writes the first content of all its pages. Not marked: it is done before anybody can migrate the machine. */
  fill(): void {
    const { content, seed } = this.#state;
    const { first, count } = this.#pages;
    this.load();
    for (let slot = 0; slot < count; slot++) {
      const page = first + slot;
      const kind = initialKind(content, page, seed);
      const entry = kind === ContentKind.zero ? ZERO_ENTRY : 1;
      if (kind !== ContentKind.zero) {
        composePage(this.#writer, this.#ram.bank(page), wordOf(page), page, entry, kind);
        this.#versionSum = (this.#versionSum + entry) | 0;
      }
      this.#setLedger(slot, entry);
    }
    this.save();
  }

  /** Runs until told to stop, then waits until told to run, for ever. */
  execute(): never {
    for (;;) {
      this.#control.parkUntilStarted(this.#vcpu);
      this.load();
      this.#brake.begin();
      this.run();
      this.#brake.end();
      this.save();
    }
  }

  load(): void {
    const { writes, versionSum, cursor, random } = this.#state.vcpu(this.#vcpu);
    this.#writes = writes;
    this.#versionSum = versionSum;
    this.#cursor = cursor;
    this.#random.load(random, 0);
  }

  save(): void {
    const random = new Int32Array(4);
    this.#random.save(random, 0);
    const writes = this.#writes;
    const versionSum = this.#versionSum;
    this.#state.saveVcpu(this.#vcpu, { writes, versionSum, cursor: this.#cursor, random });
  }

  /** Writes at the set rate until told to stop. */
  run(): void {
    const control = this.#control;
    const state = this.#state;
    const writesPerMs = state.dirtyRateBytesPerSecond / TARGET_PAGE_BYTES / state.vcpus / 1000;
    const write = this.#writeFunction();
    let due = 0;
    let then = performance.now();
    while (control.mayRun()) {
      if (writesPerMs === 0) {
        control.sleepWhileRunning(Number.POSITIVE_INFINITY);
        continue;
      }
      const now = performance.now();
      due = Math.min(due + (now - then) * writesPerMs, Math.max(1, writesPerMs * CATCH_UP_MS));
      then = now;
      // The stop is looked for between two writes only, never between a write and its mark.
      for (let left = BURST; left > 0 && due >= 1 && control.mayRun(); left--, due--) write();
      state.publishWrites(this.#vcpu, this.#writes);
      // What a throttled vCPU has not written it does not write later.
      if (this.#brake.apply(control)) then = performance.now();
      else if (due < 1) control.sleepWhileRunning(Math.max(SLICE_MS, (1 - due) / writesPerMs));
    }
  }

  /** One write of the workload. */
  #writeFunction(): () => void {
    const state = this.#state;
    const share = Math.floor(state.workingSetPages / state.vcpus);
    const slots = Math.max(1, Math.min(this.#pages.count, share));
    const hotSlots = Math.ceil(slots / 10);
    switch (WORKLOADS[state.workload]) {
      case 'sequential':
        return () => {
          if (this.#cursor >= slots) this.#cursor = 0;
          this.#write(this.#cursor++);
        };
      case 'hot-cold':
        return () => {
          const hot = this.#random.below(10) !== 0;
          this.#write(this.#random.below(hot ? hotSlots : slots));
        };
      default:
        return () => this.#write(this.#random.below(slots));
    }
  }

  /** Writes a page and its ledger entry, through the barrier. */
  #write(slot: number): void {
    const page = this.#pages.first + slot;
    const ledgerPage = this.#ledgerPage(slot);
    // Refused only when the machine is being stopped: the page is then left to its next run.
    if (!this.#barrier.beforeWrite(page) || !this.#barrier.beforeWrite(ledgerPage)) return;
    const words = this.#ram.bank(page);
    const base = wordOf(page);
    const before = this.#ledger(slot);
    const version = (before + 1) & VERSION_MASK;
    const { content, seed } = this.#state;
    const kind = writtenKind(content, page, seed);
    const chance = this.#random.next() & 63;
    let entry = version;
    if (before >= 0 && chance < ZEROINGS_IN_64[content]!) {
      words.fill(0, base, base + PAGE_WORDS);
      entry |= ZERO_ENTRY;
    } else if (before < 0 || chance >= 64 - REWRITES_IN_64) {
      composePage(this.#writer, words, base, page, version, kind);
    } else {
      rewritePart(this.#writer, words, base, version, kind);
    }
    this.#brake.wrote(slot, this.#log.set(page));
    this.#setLedger(slot, entry);
    const { count, ledgerFirst } = this.#pages;
    this.#brake.wrote(count + ledgerPage - ledgerFirst, this.#log.set(ledgerPage));
    this.#versionSum = (this.#versionSum + version - (before & VERSION_MASK)) | 0;
    this.#writes++;
  }

  #ledgerPage(slot: number): number {
    return this.#pages.ledgerFirst + Math.floor(slot / PAGE_WORDS);
  }

  #ledger(slot: number): number {
    const page = this.#ledgerPage(slot);
    return this.#ram.bank(page)[wordOf(page) + (slot % PAGE_WORDS)]!;
  }

  #setLedger(slot: number, entry: number): void {
    const page = this.#ledgerPage(slot);
    this.#ram.bank(page)[wordOf(page) + (slot % PAGE_WORDS)] = entry;
  }
}

/** How many of 64 writes make a page zero again, as a guest does that frees memory; by content mix. */
const ZEROINGS_IN_64 = CONTENT_MIXES.map((mix) => (mix === 'zero' ? 16 : mix === 'mixed' ? 4 : 0));
/** How many of 64 writes replace a whole page. */
const REWRITES_IN_64 = 4;
