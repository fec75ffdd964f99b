import { ByteWriter, concatBytes } from './byte-writer.ts';
import { type MappedRamHeader, type RamBlockDescriptor, RamFlag } from './messages.ts';
import { type EncodedBlockName, encodeCountedString } from './text.ts';

/*
 * RAM: the payload of `ram` sections is a sequence of records. Each starts with a be64 word: flags in the
 * low 12 bits (4 KiB target pages), above them a byte offset in a block, or the total size with MEM_SIZE.
 *
 *   MEM_SIZE            the block list, once, first record of START: per block
 *                         cstr8 name, be64 used length, [be64 guest address: with x-ignore-shared],
 *                         [28 bytes: with mapped-ram]
 *   ZERO [|CONTINUE]    [cstr8 block name without CONTINUE], u8 fill value 0
 *   PAGE [|CONTINUE]    [cstr8 block name without CONTINUE], 4096 bytes
 *   XBZRLE [|CONTINUE]  [cstr8 block name without CONTINUE], the difference to the page before (xbzrle.ts)
 *   COMPRESS_PAGE [|CONTINUE]
 *                       [cstr8 block name without CONTINUE], be32 length, that many bytes: one whole zlib
 *                       stream of 4096 bytes (compress threads, QEMU up to 9.0)
 *   MULTIFD_FLUSH       -
 *   EOS                 -; the section's payload ends
 *
 * CONTINUE: same block as the page record before, also across sections.
 */

/** The version of the `ram` section; a QEMU takes no other. */
export const RAM_VERSION = 4;
export const RAM_IDSTR = 'ram';
/** Most bytes of a COMPRESS_PAGE's zlib stream: zlib's own bound for 4096 bytes. */
export const COMPRESSED_PAGE_LIMIT_BYTES = 4110;
/** Low bits of a RAM word that hold flags. */
export const RAM_FLAG_MASK = 0xfff;

/** Writes a RAM word at `at`. `offsetBytes` is a multiple of 4096 below 2^53. */
export function ramWord(target: DataView, at: number, offsetBytes: number, flags: number): void {
  target.setUint32(at, Math.floor(offsetBytes / 0x1_0000_0000));
  target.setUint32(at + 4, (offsetBytes >>> 0) | flags);
}

export function encodeRamWord(offsetBytes: number, flags: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8);
  ramWord(new DataView(bytes.buffer), 0, offsetBytes, flags);
  return bytes;
}

export function encodeEos(): Uint8Array<ArrayBuffer> {
  return encodeRamWord(0, RamFlag.eos);
}

export function encodeMultifdFlush(): Uint8Array<ArrayBuffer> {
  return encodeRamWord(0, RamFlag.multifdFlush);
}

/**
 * Writes the head of a page record at `at` and returns the position after it, where the page's bytes (PAGE)
 * or the fill value (ZERO) go. `block` is the encoded name, or undefined when the block is that of the
 * record before: CONTINUE is then added to `flags`. Needs up to 8 + 256 bytes of room.
 */
export function encodePageHeader(
  target: Uint8Array,
  at: number,
  block: EncodedBlockName | undefined,
  pageIndex: number,
  flags: number,
): number {
  const high = Math.floor(pageIndex / 0x10_0000);
  const low = (pageIndex << 12) | flags | (block === undefined ? RamFlag.continue : 0);
  target[at] = high >>> 24;
  target[at + 1] = high >>> 16;
  target[at + 2] = high >>> 8;
  target[at + 3] = high;
  target[at + 4] = low >>> 24;
  target[at + 5] = low >>> 16;
  target[at + 6] = low >>> 8;
  target[at + 7] = low;
  if (block === undefined) return at + 8;
  target.set(block, at + 8);
  return at + 8 + block.length;
}

/**
 * The MEM_SIZE record with its block list, for a stream without mapped-ram. With x-ignore-shared every entry has
 * the block's guest address; 0 stands for one that is not known.
 */
export function encodeRamBlocks(
  totalBytes: number,
  blocks: readonly RamBlockEntry[],
  ignoreShared = false,
): Uint8Array<ArrayBuffer> {
  const entries = blocks.map((block) => {
    const entry = encodeRamBlockEntry(block);
    return ignoreShared ? concatBytes([entry, encodeAddress(block.guestPhysicalAddress ?? 0n)]) : entry;
  });
  return concatBytes([encodeRamWord(totalBytes, RamFlag.memSize), ...entries]);
}

type RamBlockEntry = Pick<RamBlockDescriptor, 'idstr' | 'usedLengthBytes'> & {
  readonly guestPhysicalAddress?: bigint | undefined;
};

/** be64; an address may be anything, also above 2^53. */
function encodeAddress(address: bigint): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, address);
  return bytes;
}

/** One entry of the block list: name and used length. In a mapped-ram file its header follows. */
export function encodeRamBlockEntry(
  block: Pick<RamBlockDescriptor, 'idstr' | 'usedLengthBytes'>,
): Uint8Array<ArrayBuffer> {
  return new ByteWriter().bytes(encodeCountedString(block.idstr)).u64(block.usedLengthBytes).finish();
}

/*
 * Header of a block in a mapped-ram file, after its entry in the block list:
 *   +0   be32  version 1
 *   +4   be64  page size 4096
 *   +12  be64  bitmap offset: where this header ends
 *   +20  be64  pages offset: page i is at this + i*4096
 * Offsets are absolute in the file. The bitmap has one bit per page, in whole 64-bit words, least
 * significant bit first: 0 is a zero page. The next block's entry is behind the pages.
 */

export const MAPPED_RAM_VERSION = 1;
export const MAPPED_RAM_HEADER_BYTES = 28;

export function encodeMappedRamHeader(header: MappedRamHeader): Uint8Array<ArrayBuffer> {
  return new ByteWriter()
    .u32(header.version)
    .u64(header.pageSizeBytes)
    .u64(header.bitmapOffset)
    .u64(header.pagesOffset)
    .finish();
}

/** Bytes of the page bitmap of a block in a mapped-ram file. */
export function mappedRamBitmapBytes(usedLengthBytes: number): number {
  return Math.ceil(usedLengthBytes / 4096 / 64) * 8;
}
