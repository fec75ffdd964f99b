import { workerData } from 'node:worker_threads';
import { constants } from 'node:zlib';
import { MigrationError } from '@pageferry/core';
import { BlockView, type RamBlockMemory, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { NativeStream } from '../codecs/native-stream.ts';
import { DecompressSlot } from './decompress-slot.ts';
import type { SlotPoolData } from './slot-pool.ts';

/** What a decompress thread is given, beside the slots. */
export interface DecompressData {
  readonly blocks: readonly RamBlockMemory[];
  /** Whether a page that cannot be inflated is an error, or left as it is (decompress-error-check). */
  readonly checkErrors: boolean;
}

/** A byte behind the page shows a stream that holds more. */
const OUTPUT_BYTES = TARGET_PAGE_BYTES + 1;

const { memory, blocks, checkErrors } = workerData as SlotPoolData & DecompressData;
const views = blocks.map((block) => new BlockView(block));
const slots = new Map<number, DecompressSlot>();
const output = Buffer.alloc(OUTPUT_BYTES);
let stream = createStream();

function createStream(): NativeStream {
  return new NativeStream('inflate', { flush: constants.Z_FINISH, maxOutputLength: OUTPUT_BYTES });
}

/** The thread has loaded what it needs. */
export function ready(): void {}

/** Puts the pages of a slot into guest RAM. */
export default function decompress(index: number): void {
  let slot = slots.get(index);
  if (slot === undefined) {
    slot = new DecompressSlot(memory, index);
    slots.set(index, slot);
  }
  let at = 0;
  for (let i = 0; i < slot.count; i++) {
    const end = at + slot.lengths[i]!;
    const fault = inflate(slot.streams, at, end);
    at = end;
    if (fault === undefined) {
      const view = views[slot.blocks[i]!]!;
      view.copyIn(output, 0, slot.pages[i]!, 1);
      view.markReceived(slot.pages[i]!, 1);
    } else if (checkErrors) {
      throw new MigrationError('bad-compressed-data', 'a compressed page cannot be inflated', {
        channel: 'main',
        offset: slot.offsets[i]!,
        found: fault,
        expected: `one zlib stream of ${TARGET_PAGE_BYTES} bytes`,
      }).toPlain();
    }
  }
}

/** Leaves the page in `output`; what is wrong with its stream, or undefined. */
function inflate(streams: Buffer, at: number, end: number): string | undefined {
  try {
    stream.step(streams, at, output, 0, end);
  } catch (error) {
    // A stream that has failed is of no more use.
    stream.close();
    stream = createStream();
    return error instanceof Error ? error.message : String(error);
  }
  const { consumed, produced } = stream;
  stream.reset();
  if (produced !== TARGET_PAGE_BYTES) return `one of ${produced} bytes`;
  return consumed === end - at ? undefined : `its end after ${consumed} of ${end - at} bytes`;
}
