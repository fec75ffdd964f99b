import { basename } from 'node:path';
import type { MigrationError } from '@pageferry/core';
import { type CaptureReadOptions, loadCapture } from '@pageferry/core/capture';
import { TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { ELF_MAGIC, readCoreDump } from './core-dump.ts';
import { MemoryFile } from './memory-file.ts';
import { type MemorySource, sourceOfBlocks } from './memory-source.ts';

const CAPTURE_MAGIC = Buffer.from('QEVM');
/** Files that hold memory, or might be taken for it, in a form that is not read here. */
const REFUSED: readonly { magic: Buffer; what: string }[] = [
  { magic: Buffer.from('KDUMP   '), what: 'a kdump-compressed dump' },
  { magic: Buffer.from('DISKDUMP'), what: 'a kdump-compressed dump (diskdump)' },
  { magic: Buffer.from('makedumpfile\0'), what: 'a flattened makedumpfile dump' },
  { magic: Buffer.from('PAGEDU64'), what: 'a Windows crash dump' },
  { magic: Buffer.from('EMiL'), what: 'a LiME dump' },
  { magic: Buffer.from('LibvirtQemudSave'), what: 'a libvirt save file' },
  { magic: Buffer.from('QFI\xfb', 'latin1'), what: 'a qcow2 disk image' },
  { magic: Buffer.from('\x1f\x8b\x08', 'latin1'), what: 'a gzip file' },
  { magic: Buffer.from('\x28\xb5\x2f\xfd', 'latin1'), what: 'a zstd file' },
  { magic: Buffer.from('\xfd7zXZ\0', 'latin1'), what: 'an xz file' },
];
const MAGIC_BYTES = 16;
const EXPECTED =
  'a capture, a raw image of memory, or an ELF core dump (dump-guest-memory without compression)';
/** What a raw image may have: as much as a capture may announce. */
const MAX_IMAGE_BYTES = 2 ** 40;

/** What a file with memory can be. */
export type SourceKind = 'capture' | 'image' | 'core-dump';

export interface OpenSourceOptions extends CaptureReadOptions {
  /** What the file is, whatever its first bytes seem to say. */
  readonly kind?: SourceKind;
}

/**
 * Opens a file with guest memory; which kind it is stands in its first bytes, and a file without any known magic is a
 * raw image. A capture is loaded into memory, the others are read as they are needed.
 *
 * @throws MigrationError `file-failed`, `bad-file`, `truncated`, `limit-exceeded`, `unsupported` for formats that are known
 *   and not read, `cancelled`, and what `loadCapture` throws
 */
export async function openMemorySource(path: string, options: OpenSourceOptions = {}): Promise<MemorySource> {
  const file = await MemoryFile.open(path);
  let keep = false;
  try {
    const kind = options.kind ?? (await detectKind(file));
    if (kind === 'capture') {
      const { memory } = await loadCapture(path, options);
      return sourceOfBlocks(memory, 'capture', basename(path));
    }
    const source = kind === 'core-dump' ? await coreDumpSource(file) : imageSource(file);
    keep = true;
    return source;
  } finally {
    if (!keep) await file.close();
  }
}

async function detectKind(file: MemoryFile): Promise<SourceKind> {
  const head = Buffer.alloc(MAGIC_BYTES);
  await file.readUpTo(head, 0);
  const refused = REFUSED.find(({ magic }) => startsWith(head, magic));
  if (refused !== undefined) throw refusal(file, refused.what);
  if (startsWith(head, CAPTURE_MAGIC)) return 'capture';
  return startsWith(head, ELF_MAGIC) ? 'core-dump' : 'image';
}

function startsWith(head: Buffer, magic: Buffer): boolean {
  return head.subarray(0, magic.length).equals(magic);
}

function refusal(file: MemoryFile, found: string): MigrationError {
  return file.error('unsupported', 'a format that is not read here', 0, { found, expected: EXPECTED });
}

function imageSource(file: MemoryFile): MemorySource {
  const rest = file.sizeBytes % TARGET_PAGE_BYTES;
  const bytes = file.sizeBytes - rest;
  if (bytes === 0) {
    const found = `${file.sizeBytes} bytes`;
    throw file.error('bad-file', 'no memory in the file', 0, { found, expected: 'at least a page' });
  }
  if (bytes > MAX_IMAGE_BYTES) {
    const details = { found: `${bytes} bytes`, expected: `at most ${MAX_IMAGE_BYTES}` };
    throw file.error('limit-exceeded', 'a raw image', 0, details);
  }
  const name = basename(file.path);
  return {
    kind: 'image',
    name,
    blocks: [{ name, bytes }],
    notes: rest === 0 ? [] : [`the last ${rest} bytes of ${name} are no whole page and are left out`],
    read: (_block, offsetBytes, target) => file.readFully(target, offsetBytes, 'the image'),
    close: () => file.close(),
  };
}

async function coreDumpSource(file: MemoryFile): Promise<MemorySource> {
  const { pieces, omittedBytes } = await readCoreDump(file);
  return {
    kind: 'core-dump',
    name: basename(file.path),
    blocks: pieces.map(({ physicalAddress, bytes }) => ({
      name: `0x${physicalAddress.toString(16)}`,
      bytes,
    })),
    notes: omittedBytes === 0 ? [] : [`the dump itself leaves out ${omittedBytes} bytes of memory`],
    read: (block, offsetBytes, target) =>
      file.readFully(target, pieces[block]!.fileOffset + offsetBytes, 'a segment'),
    close: () => file.close(),
  };
}
