import { type Capture, CapturedMachine } from '@pageferry/core/capture';
import { type Guest, type GuestMemory, RunControl } from '@pageferry/core/guest';
import { DirtyBitmap, type RamBlock } from '@pageferry/core/memory';
import { TINY_ROM } from './tiny-guest.ts';

const PAGE_BYTES = 4096;
/** The only vCPU. */
const VCPU = 0;
/** Place in each page of the byte that goes to and fro. */
const FLIPPED = 2048;

/**
 * The captured tiny guest, running again as a source for a QEMU: it goes on writing its region as its own code does.
 * It stops only between two passes, so that its registers, which are those of the capture, fit its memory. In every
 * other pass one more byte of each page is another one: what is sent of a page may have to be taken back.
 */
export class RevivedGuest implements Guest, Disposable {
  readonly machine: string;
  readonly ramSectionId: number;
  readonly memory: GuestMemory;
  readonly ram: RamBlock;
  readonly #captured: CapturedMachine;
  readonly #control = RunControl.create(1);
  readonly #dirty: DirtyBitmap;
  readonly #timer: NodeJS.Timeout;
  #flipped = false;

  /** @param intervalMs pause between two passes over the region */
  constructor(capture: Capture, intervalMs: number) {
    this.#captured = new CapturedMachine(capture);
    this.machine = this.#captured.machine;
    this.ramSectionId = this.#captured.ramSectionId;
    const bitmaps = capture.memory.map((block) => new DirtyBitmap(block.pageCount));
    const index = capture.memory.findIndex(({ idstr }) => idstr === 'pc.ram');
    this.ram = capture.memory[index]!;
    this.#dirty = bitmaps[index]!;
    this.memory = {
      blocks: this.#captured.memory.blocks,
      dirtyLog: { kind: 'write-barrier', bitmaps: bitmaps.map(({ buffer }) => buffer) },
      runControl: this.#control.buffer,
    };
    this.#control.start();
    // Says that it runs; while it is told to run it does not wait.
    this.#control.parkUntilStarted(VCPU);
    this.#timer = setInterval(() => this.#tick(), intervalMs);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#control.retire(VCPU);
  }

  saveDeviceState() {
    return this.#captured.saveDeviceState();
  }

  inactivate() {
    return this.#captured.inactivate();
  }

  activate() {
    return this.#captured.activate();
  }

  #tick(): void {
    if (this.#control.mayRun() || this.#flipped) this.#pass();
    else this[Symbol.dispose]();
  }

  #pass(): void {
    const { bytes } = this.ram;
    const { regionStart, regionEnd, passAddress } = TINY_ROM;
    for (let at = regionStart; at < regionEnd; at += PAGE_BYTES) {
      bytes[at]!++;
      bytes[at + FLIPPED]! ^= 0xff;
      this.#dirty.set(at / PAGE_BYTES);
    }
    this.#flipped = !this.#flipped;
    const passes = new DataView(bytes.buffer, bytes.byteOffset + passAddress);
    passes.setUint32(0, passes.getUint32(0, true) + 1, true);
    this.#dirty.set(Math.floor(passAddress / PAGE_BYTES));
  }
}
