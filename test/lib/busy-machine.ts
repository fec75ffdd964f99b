import { Worker } from 'node:worker_threads';
import { type Capture, CapturedMachine } from '@pageferry/core/capture';
import { type Guest, type GuestMemory, RunControl } from '@pageferry/core/guest';
import { DirtyBitmap } from '@pageferry/core/memory';
import type { BusyVcpuData } from './busy-vcpu.ts';
import { TINY_ROM } from './tiny-guest.ts';

/**
 * A captured tiny guest whose RAM changes while it migrates, as that of a running guest does, and is what was captured
 * when it is stopped: a QEMU can go on with it, and a lost write shows.
 */
export class BusyMachine extends CapturedMachine implements Guest, AsyncDisposable {
  override readonly memory: GuestMemory;
  readonly control = RunControl.create(1);
  readonly #vcpu: Worker;

  constructor(capture: Capture) {
    super(capture);
    const blocks = capture.memory.map((block) => block.toMemory());
    const bitmaps = capture.memory.map((block) => new DirtyBitmap(block.pageCount).buffer);
    this.memory = {
      blocks,
      dirtyLog: { kind: 'write-barrier', bitmaps },
      runControl: this.control.buffer,
    };
    const ram = blocks.findIndex(({ idstr }) => idstr === 'pc.ram');
    const { regionStart, regionEnd } = TINY_ROM;
    const workerData: BusyVcpuData = {
      buffer: blocks[ram]!.buffer,
      bitmap: bitmaps[ram]!,
      control: this.control.buffer,
      firstPage: regionStart / 4096,
      pageCount: (regionEnd - regionStart) / 4096,
    };
    this.#vcpu = new Worker(new URL('./busy-vcpu.ts', import.meta.url), { workerData });
  }

  start(): void {
    this.control.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#vcpu.terminate();
  }
}
