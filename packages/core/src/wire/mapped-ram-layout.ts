import { concatBytes } from './byte-writer.ts';
import type { MappedRamHeader, RamBlockDescriptor } from './messages.ts';
import {
  encodeMappedRamHeader,
  encodeRamBlockEntry,
  MAPPED_RAM_HEADER_BYTES,
  MAPPED_RAM_VERSION,
  mappedRamBitmapBytes,
} from './ram-records.ts';

/*
 * Where a block's bytes are in a mapped-ram file (all offsets absolute):
 *
 *   entry       name and used length
 *   header      28 bytes
 *   bitmap      right behind the header; bit i (LSB of the first byte first) is page i; set: the page is in the
 *               pages region, clear: it is zero
 *   hole        up to the next MiB
 *   pages       used length bytes; page i at pagesOffset + i * 4096
 *   next entry  right behind
 */

const PAGE_BYTES = 4096;
const PAGES_ALIGNMENT_BYTES = 0x100000;

/** Where a block is in a mapped-ram file, in bytes from the file's start. */
export interface MappedRamPlace {
  readonly entryOffset: number;
  readonly bitmapOffset: number;
  readonly pagesOffset: number;
  /** Where the next block's entry is, or what follows the block list. */
  readonly endOffset: number;
}

/** The places of all blocks as QEMU lays them out, for a first entry at `offset` of the file. */
export function layOutMappedRam(
  blocks: readonly Pick<RamBlockDescriptor, 'idstr' | 'usedLengthBytes'>[],
  offset: number,
): MappedRamPlace[] {
  let entryOffset = offset;
  return blocks.map((block) => {
    const bitmapOffset = entryOffset + encodeRamBlockEntry(block).length + MAPPED_RAM_HEADER_BYTES;
    const bitmapEnd = bitmapOffset + mappedRamBitmapBytes(block.usedLengthBytes);
    const pagesOffset = Math.ceil(bitmapEnd / PAGES_ALIGNMENT_BYTES) * PAGES_ALIGNMENT_BYTES;
    const place = {
      entryOffset,
      bitmapOffset,
      pagesOffset,
      endOffset: pagesOffset + block.usedLengthBytes,
    };
    entryOffset = place.endOffset;
    return place;
  });
}

/** A block's entry in the block list with its header: what is between `entryOffset` and `bitmapOffset`. */
export function encodeMappedRamEntry(
  block: Pick<RamBlockDescriptor, 'idstr' | 'usedLengthBytes'>,
  { bitmapOffset, pagesOffset }: Pick<MappedRamHeader, 'bitmapOffset' | 'pagesOffset'>,
): Uint8Array<ArrayBuffer> {
  const header = { version: MAPPED_RAM_VERSION, pageSizeBytes: PAGE_BYTES, bitmapOffset, pagesOffset };
  return concatBytes([encodeRamBlockEntry(block), encodeMappedRamHeader(header)]);
}
