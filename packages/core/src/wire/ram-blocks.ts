import { type ByteQueue, need } from './byte-queue.ts';
import { type MappedRamHeader, type RamBlockDescriptor, RamFlag } from './messages.ts';
import {
  MAPPED_RAM_HEADER_BYTES,
  MAPPED_RAM_VERSION,
  mappedRamBitmapBytes,
  RAM_FLAG_MASK,
} from './ram-records.ts';
import { decodeCountedString, hex } from './text.ts';

const MAX_BLOCKS = 1024;
const MAX_TOTAL_BYTES = 2 ** 46;
const PAGE_BYTES = 4096;

/** What the configuration section says about the form of the block list. */
export interface RamBlocksForm {
  readonly mappedRam: boolean;
  readonly ignoreShared: boolean;
}

/**
 * Reads the MEM_SIZE record, the first one of the START section (layout in ram-records.ts). The list has no
 * count: it ends when the used lengths add up to the total. In a mapped-ram file the pages are skipped
 * (`ByteQueue.skipTo`), since each entry is behind the pages of the one before.
 * @throws MigrationError `bad-section`, `limit-exceeded`, `bad-version`, `bad-file`, `unsupported`
 */
export function* decodeRamBlocks(
  queue: ByteQueue,
  form: RamBlocksForm,
): Generator<undefined, { totalBytes: number; blocks: RamBlockDescriptor[] }> {
  yield* need(queue, 8, 'the RAM block list');
  const flags = queue.peekU32(4) & RAM_FLAG_MASK;
  if (flags !== RamFlag.memSize) {
    const found = `flags ${hex(flags)}`;
    throw queue.error('bad-section', 'the START section of ram has no block list', {
      found,
      expected: '0x4',
    });
  }
  if (form.mappedRam && form.ignoreShared) {
    // The writer puts the address before the mapped-ram header, the reader does not expect it there.
    throw queue.error('unsupported', 'mapped-ram together with x-ignore-shared');
  }
  const totalAt = queue.offset;
  const totalBytes = queue.u64('total size of RAM') - flags;
  if (totalBytes === 0 || totalBytes > MAX_TOTAL_BYTES) {
    const expected = `1 to ${MAX_TOTAL_BYTES}`;
    throw queue.error('limit-exceeded', 'total size of RAM', { found: `${totalBytes}`, expected }, totalAt);
  }
  const blocks: RamBlockDescriptor[] = [];
  const names = new Set<string>();
  let left = totalBytes;
  while (left > 0) {
    if (blocks.length === MAX_BLOCKS) {
      const expected = `at most ${MAX_BLOCKS}`;
      throw queue.error('limit-exceeded', 'number of RAM blocks', { found: `${MAX_BLOCKS + 1}`, expected });
    }
    const block = yield* decodeEntry(queue, form, left);
    if (names.has(block.idstr)) {
      throw queue.error('bad-section', 'RAM block that is in the list twice', { found: block.idstr });
    }
    names.add(block.idstr);
    blocks.push(block);
    left -= block.usedLengthBytes;
  }
  return { totalBytes, blocks };
}

function* decodeEntry(
  queue: ByteQueue,
  form: RamBlocksForm,
  left: number,
): Generator<undefined, RamBlockDescriptor> {
  const idstr = yield* decodeCountedString(queue, 'name of a RAM block');
  yield* need(queue, 8, `the used length of RAM block ${idstr}`);
  const lengthAt = queue.offset;
  const usedLengthBytes = queue.u64(`used length of RAM block ${idstr}`);
  if (usedLengthBytes === 0 || usedLengthBytes > left || usedLengthBytes % PAGE_BYTES !== 0) {
    const expected = `a multiple of ${PAGE_BYTES}, at most ${left} (what the total leaves)`;
    const message = `used length of RAM block ${idstr}`;
    throw queue.error('bad-section', message, { found: `${usedLengthBytes}`, expected }, lengthAt);
  }
  if (form.ignoreShared) {
    yield* need(queue, 8, `the guest address of RAM block ${idstr}`);
    const guestPhysicalAddress = (BigInt(queue.u32()) << 32n) | BigInt(queue.u32());
    return { idstr, usedLengthBytes, guestPhysicalAddress };
  }
  if (!form.mappedRam) return { idstr, usedLengthBytes };
  const mappedRam = yield* decodeMappedRamHeader(queue, idstr, usedLengthBytes);
  queue.skipTo(mappedRam.pagesOffset + usedLengthBytes);
  return { idstr, usedLengthBytes, mappedRam };
}

function* decodeMappedRamHeader(
  queue: ByteQueue,
  idstr: string,
  usedLengthBytes: number,
): Generator<undefined, MappedRamHeader> {
  yield* need(queue, MAPPED_RAM_HEADER_BYTES, `the mapped-ram header of RAM block ${idstr}`);
  const version = queue.peekU32();
  if (version !== MAPPED_RAM_VERSION) {
    const message = `version of the mapped-ram header of ${idstr}`;
    throw queue.error('bad-version', message, { found: `${version}`, expected: `${MAPPED_RAM_VERSION}` });
  }
  queue.skip(4);
  const at = queue.offset;
  const pageSizeBytes = queue.u64(`page size of RAM block ${idstr}`);
  if (pageSizeBytes !== PAGE_BYTES) {
    const message = `page size of RAM block ${idstr}`;
    throw queue.error('bad-file', message, { found: `${pageSizeBytes}`, expected: `${PAGE_BYTES}` }, at);
  }
  const bitmapOffset = queue.u64(`bitmap offset of RAM block ${idstr}`);
  const pagesOffset = queue.u64(`pages offset of RAM block ${idstr}`);
  // Everything lies behind this header and in order, so no two blocks can overlap.
  if (bitmapOffset < queue.offset) {
    const expected = `at least ${queue.offset}`;
    const message = `bitmap offset of RAM block ${idstr}`;
    throw queue.error('bad-file', message, { found: `${bitmapOffset}`, expected }, at + 8);
  }
  const bitmapEnd = bitmapOffset + mappedRamBitmapBytes(usedLengthBytes);
  const pagesEnd = pagesOffset + usedLengthBytes;
  if (pagesOffset < bitmapEnd || pagesOffset % PAGE_BYTES !== 0 || pagesEnd > Number.MAX_SAFE_INTEGER) {
    const expected = `a multiple of ${PAGE_BYTES}, at least ${bitmapEnd}, with an end below 2^53`;
    const message = `pages offset of RAM block ${idstr}`;
    throw queue.error('bad-file', message, { found: `${pagesOffset}`, expected }, at + 16);
  }
  return { version, pageSizeBytes, bitmapOffset, pagesOffset };
}
