import { TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import type { MemoryFile } from './memory-file.ts';

/*
 * An ELF core dump, 64-bit little-endian, as QEMU's `dump-guest-memory` writes it; all numbers little-endian.
 *
 * File header, 64 bytes:
 *    0  4     7f 'E' 'L' 'F'
 *    4  u8    class: 2 is 64-bit
 *    5  u8    data: 1 is little-endian
 *    6  u8    version 1
 *   16  u16   type: 4 is a core dump
 *   20  u32   version 1
 *   32  u64   offset of the program headers
 *   40  u64   offset of the section headers
 *   54  u16   size of a program header: 56
 *   56  u16   number of program headers; 0xffff: it is in field `info` of section header 0
 *   58  u16   size of a section header: 64
 *
 * Program header, 56 bytes:
 *    0  u32   type: 1 is PT_LOAD
 *    8  u64   offset in the file
 *   24  u64   physical address
 *   32  u64   bytes in the file
 *   40  u64   bytes in memory; what is more than in the file was left out of the dump
 *
 * Section header, 64 bytes:
 *   44  u32   info
 */

export const ELF_MAGIC = Buffer.from('\x7fELF', 'latin1');
const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const SECTION_HEADER_BYTES = 64;
const TYPE_CORE = 4;
const PT_LOAD = 1;
const MANY_PROGRAM_HEADERS = 0xffff;
/** A dump with page tables has a header for each virtual mapping; 2^20 of them are 56 MiB. */
const MAX_PROGRAM_HEADERS = 2 ** 20;
/** Pieces of memory that do not follow each other. */
const MAX_PIECES = 4096;
const HEADERS_AT_ONCE = 16 * 1024;

/** A piece of guest memory in a core dump. */
interface CoreDumpPiece {
  readonly physicalAddress: number;
  readonly fileOffset: number;
  /** A multiple of 4096. */
  readonly bytes: number;
}

export interface CoreDumpLayout {
  /** By physical address; each byte of the file is in one piece at most. */
  readonly pieces: readonly CoreDumpPiece[];
  /** Bytes of memory that the dump says it has left out. */
  readonly omittedBytes: number;
}

/**
 * Finds the memory in a core dump. Mappings of the same memory count once.
 *
 * @throws MigrationError `unsupported` for other ELF files, by name; `bad-file`, `truncated` and `limit-exceeded` for
 *   what cannot be
 */
export async function readCoreDump(file: MemoryFile): Promise<CoreDumpLayout> {
  const header = Buffer.alloc(HEADER_BYTES);
  await file.readFully(header, 0, 'the ELF header');
  checkHeader(file, header);
  const tableOffset = readU64(file, header, 32, 0, 'the offset of the program headers');
  const count = await programHeaderCount(file, header);
  if (count > MAX_PROGRAM_HEADERS) {
    throw file.error('limit-exceeded', 'program headers', 56, {
      found: String(count),
      expected: `at most ${MAX_PROGRAM_HEADERS}`,
    });
  }
  if (tableOffset + count * PROGRAM_HEADER_BYTES > file.sizeBytes) {
    throw file.error('truncated', `the file ends inside its ${count} program headers`, file.sizeBytes);
  }
  const loads: CoreDumpPiece[] = [];
  let omittedBytes = 0;
  const chunk = Buffer.alloc(Math.min(count, HEADERS_AT_ONCE) * PROGRAM_HEADER_BYTES);
  for (let done = 0; done < count; done += HEADERS_AT_ONCE) {
    const headers = Math.min(HEADERS_AT_ONCE, count - done);
    const offset = tableOffset + done * PROGRAM_HEADER_BYTES;
    await file.readFully(chunk.subarray(0, headers * PROGRAM_HEADER_BYTES), offset, 'the program headers');
    for (let i = 0; i < headers; i++) {
      const at = i * PROGRAM_HEADER_BYTES;
      if (chunk.readUInt32LE(at) !== PT_LOAD) continue;
      const { piece, memoryBytes } = readLoad(file, chunk, at, offset + at);
      omittedBytes += Math.max(0, memoryBytes - piece.bytes);
      const pages = wholePages(piece);
      if (pages.bytes > 0) loads.push(pages);
    }
  }
  const pieces = mergePieces(loads);
  if (pieces.length === 0) throw file.error('bad-file', 'the core dump holds no memory', tableOffset);
  if (pieces.length > MAX_PIECES) {
    throw file.error('limit-exceeded', 'separate pieces of memory', tableOffset, {
      found: String(pieces.length),
      expected: `at most ${MAX_PIECES}`,
    });
  }
  return { pieces, omittedBytes };
}

function checkHeader(file: MemoryFile, header: Buffer): void {
  if (!header.subarray(0, ELF_MAGIC.length).equals(ELF_MAGIC)) {
    throw file.error('bad-file', 'the file is no ELF file', 0);
  }
  const [elfClass, data] = [header[4], header[5]];
  if (elfClass === 1) throw file.error('unsupported', 'a 32-bit ELF file; 64-bit core dumps are read', 4);
  if (data === 2)
    throw file.error('unsupported', 'a big-endian ELF file; little-endian core dumps are read', 5);
  if (elfClass !== 2 || data !== 1) {
    const found = `${elfClass} and ${data}`;
    throw file.error('bad-file', 'class and byte order of an ELF file', 4, { found, expected: '2 and 1' });
  }
  const type = header.readUInt16LE(16);
  if (type !== TYPE_CORE) {
    const found = `type ${type}`;
    const expected = 'type 4, unless kind image reads it as raw memory';
    throw file.error('unsupported', 'an ELF file that is no core dump', 16, { found, expected });
  }
}

/** From 65535 on, the number does not fit into its field. */
async function programHeaderCount(file: MemoryFile, header: Buffer): Promise<number> {
  const count = header.readUInt16LE(56);
  if (count === 0) return 0;
  const entryBytes = header.readUInt16LE(54);
  if (entryBytes !== PROGRAM_HEADER_BYTES) {
    const details = { found: String(entryBytes), expected: String(PROGRAM_HEADER_BYTES) };
    throw file.error('bad-file', 'size of a program header', 54, details);
  }
  if (count !== MANY_PROGRAM_HEADERS) return count;
  const sectionBytes = header.readUInt16LE(58);
  if (sectionBytes !== SECTION_HEADER_BYTES) {
    const details = { found: String(sectionBytes), expected: String(SECTION_HEADER_BYTES) };
    throw file.error('bad-file', 'size of a section header', 58, details);
  }
  const offset = readU64(file, header, 40, 0, 'the offset of the section headers');
  const section = Buffer.alloc(SECTION_HEADER_BYTES);
  await file.readFully(section, offset, 'section header 0');
  return section.readUInt32LE(44);
}

function readLoad(
  file: MemoryFile,
  bytes: Buffer,
  at: number,
  fileAt: number,
): { piece: CoreDumpPiece; memoryBytes: number } {
  const piece = {
    fileOffset: readU64(file, bytes, at + 8, fileAt - at, 'the offset of a segment'),
    physicalAddress: readU64(file, bytes, at + 24, fileAt - at, 'the address of a segment'),
    bytes: readU64(file, bytes, at + 32, fileAt - at, 'the length of a segment'),
  };
  const memoryBytes = readU64(file, bytes, at + 40, fileAt - at, 'the length of a segment in memory');
  const end = piece.fileOffset + piece.bytes;
  if (piece.bytes > 0 && end > file.sizeBytes) {
    throw file.error('truncated', 'a segment reaches behind the end of the file', fileAt + 32, {
      found: `its end at byte ${end}`,
      expected: `at most ${file.sizeBytes}`,
    });
  }
  return { piece, memoryBytes };
}

/** @param baseOffset where `bytes` begins in the file */
function readU64(file: MemoryFile, bytes: Buffer, at: number, baseOffset: number, what: string): number {
  const value = Number(bytes.readBigUInt64LE(at));
  if (Number.isSafeInteger(value)) return value;
  const found = `0x${bytes.readBigUInt64LE(at).toString(16)}`;
  throw file.error('bad-file', what, baseOffset + at, { found, expected: 'less than 2^53' });
}

/** The part of a piece that is whole guest pages. */
function wholePages({ physicalAddress, fileOffset, bytes }: CoreDumpPiece): CoreDumpPiece {
  const skip = (TARGET_PAGE_BYTES - (physicalAddress % TARGET_PAGE_BYTES)) % TARGET_PAGE_BYTES;
  const left = Math.max(0, bytes - skip);
  return {
    physicalAddress: physicalAddress + skip,
    fileOffset: fileOffset + skip,
    bytes: left - (left % TARGET_PAGE_BYTES),
  };
}

/**
 * Joins what follows each other, in the file and as physical memory, and leaves out what a piece before has: so the
 * pieces together are never larger than the file, whatever the headers say.
 */
function mergePieces(loads: CoreDumpPiece[]): CoreDumpPiece[] {
  loads.sort((a, b) => a.fileOffset - b.fileOffset || b.bytes - a.bytes);
  const pieces: { physicalAddress: number; fileOffset: number; bytes: number }[] = [];
  let end = 0;
  for (const load of loads) {
    const last = pieces.at(-1);
    const seen = Math.ceil(Math.max(0, end - load.fileOffset) / TARGET_PAGE_BYTES) * TARGET_PAGE_BYTES;
    if (seen >= load.bytes) continue;
    const fileOffset = load.fileOffset + seen;
    const physicalAddress = load.physicalAddress + seen;
    const bytes = load.bytes - seen;
    end = fileOffset + bytes;
    const follows =
      last !== undefined &&
      last.fileOffset + last.bytes === fileOffset &&
      last.physicalAddress + last.bytes === physicalAddress;
    if (follows) last.bytes += bytes;
    else pieces.push({ physicalAddress, fileOffset, bytes });
  }
  return pieces.sort((a, b) => a.physicalAddress - b.physicalAddress);
}
