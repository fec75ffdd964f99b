import { workerData } from 'node:worker_threads';
import { constants } from 'node:zlib';
import { MigrationError } from '@pageferry/core';
import { BlockView, isZeroPage, type RamBlockMemory, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { COMPRESSED_PAGE_LIMIT_BYTES, encodePageHeader, RamFlag } from '@pageferry/core/wire';
import { NativeStream } from '../codecs/native-stream.ts';
import { CompressSlot } from './compress-slot.ts';
import type { SlotPoolData } from './slot-pool.ts';

/** What a compress thread is given, beside the slots. */
export interface CompressData {
  readonly blocks: readonly RamBlockMemory[];
  /** 0 to 9. */
  readonly level: number;
  readonly detectZero: boolean;
}

/** A byte more than a page can need: a full output would leave it open whether more is to come. */
const OUTPUT_BYTES = COMPRESSED_PAGE_LIMIT_BYTES + 1;

const { memory, blocks, level, detectZero } = workerData as SlotPoolData & CompressData;
const views = blocks.map((block) => new BlockView(block));
const slots = new Map<number, CompressSlot>();
const stream = new NativeStream('deflate', {
  level,
  flush: constants.Z_FINISH,
  maxOutputLength: OUTPUT_BYTES,
});
/** With a byte behind the page: a copy of all of a buffer is slower. */
const room = Buffer.alloc(TARGET_PAGE_BYTES + 1);
const page = room.subarray(0, TARGET_PAGE_BYTES);
const output = Buffer.alloc(OUTPUT_BYTES);

/** The thread has loaded what it needs. */
export function ready(): void {}

/** Makes the records of the pages of a slot. The guest may be writing them: each is copied first. */
export default function compress(index: number): void {
  let slot = slots.get(index);
  if (slot === undefined) {
    slot = new CompressSlot(memory, index);
    slots.set(index, slot);
  }
  const view = views[slot.blockIndex]!;
  let at = 0;
  let zeroPages = 0;
  for (let i = 0; i < slot.count; i++) {
    const number = slot.pages[i]!;
    view.copyOut(number, 1, room, 0);
    if (detectZero && isZeroPage(page)) {
      at = encodePageHeader(slot.records, at, undefined, number, RamFlag.zero);
      slot.records[at++] = 0;
      zeroPages++;
    } else {
      at = compressPage(slot.records, at, number);
    }
  }
  slot.done(at, zeroPages);
}

function compressPage(records: Buffer, start: number, number: number): number {
  stream.step(page, 0, output, 0);
  const { consumed, produced } = stream;
  stream.reset();
  if (consumed !== TARGET_PAGE_BYTES || produced > COMPRESSED_PAGE_LIMIT_BYTES) {
    throw new MigrationError('internal', 'zlib made a page longer than its bound', {
      found: `${consumed} bytes in ${produced}`,
    }).toPlain();
  }
  const at = encodePageHeader(records, start, undefined, number, RamFlag.compressPage);
  records.writeUInt32BE(produced, at);
  output.copy(records, at + 4, 0, produced);
  return at + 4 + produced;
}
