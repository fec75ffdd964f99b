import { randomBytes } from 'node:crypto';
import type { Guest } from '../guest/contract.ts';
import { DirtyBitmap } from '../memory/dirty-bitmap.ts';
import { RamBlock } from '../memory/ram-block.ts';
import { deviceState } from './test-guests.ts';

const DIRTY_INTERVAL_MS = 20;
/** Far apart enough that no compressor sees the repetition. */
const NOISE_BYTES = 8 * 2 ** 20;

/**
 * A guest of which there is always something to be sent: all of its pages, which no compressor makes smaller, are marked as
 * dirty again and again, though nobody writes them.
 */
export class BusyGuest implements Guest {
  readonly machine = 'pc-i440fx-10.0';
  readonly ramSectionId = 2;
  readonly memory: Guest['memory'];
  readonly #timer: NodeJS.Timeout;

  constructor(memoryBytes: number) {
    const block = RamBlock.allocate('pc.ram', memoryBytes);
    const noise = randomBytes(NOISE_BYTES);
    for (let at = 0; at < memoryBytes; at += NOISE_BYTES) {
      block.bytes.set(noise.subarray(0, Math.min(NOISE_BYTES, memoryBytes - at)), at);
    }
    const log = new DirtyBitmap(block.pageCount);
    this.memory = {
      blocks: [block.toMemory()],
      dirtyLog: { kind: 'write-barrier', bitmaps: [log.buffer] },
    };
    this.#timer = setInterval(() => log.setAll(), DIRTY_INTERVAL_MS);
  }

  /** It marks no more. */
  close(): void {
    clearInterval(this.#timer);
  }

  async saveDeviceState() {
    return deviceState();
  }

  async inactivate(): Promise<void> {}
  async activate(): Promise<void> {}
}
