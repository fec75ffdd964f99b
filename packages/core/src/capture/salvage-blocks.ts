import type { RamBlockDescriptor } from '../wire/messages.ts';
import { MAPPED_RAM_HEADER_BYTES, mappedRamBitmapBytes, RAM_FLAG_MASK } from '../wire/ram-records.ts';
import { decodeText } from '../wire/text.ts';
import type { CaptureFile } from './capture-file.ts';

const LENGTH_BYTES = 8;
const ENTRY_BYTES_MAX = 256 + LENGTH_BYTES + MAPPED_RAM_HEADER_BYTES;
const PAGE_BYTES = 4096;

/**
 * The entries at the head of a mapped-ram block list that ends in damage: each entry stands behind the pages of
 * the one before, so a file that is cut there still has whole blocks. Only entries that are certain are given.
 */
export async function salvageMappedBlocks(
  file: CaptureFile,
  listOffset: number,
): Promise<{ blocks: RamBlockDescriptor[]; totalBytes: number }> {
  const blocks: RamBlockDescriptor[] = [];
  const word = await readView(file, listOffset, LENGTH_BYTES);
  if (word.byteLength < LENGTH_BYTES) return { blocks, totalBytes: 0 };
  const totalBytes = Number(word.getBigUint64(0)) - (word.getUint32(4) & RAM_FLAG_MASK);
  let offset = listOffset + LENGTH_BYTES;
  let left = totalBytes;
  while (left > 0) {
    const block = readEntry(await readView(file, offset, ENTRY_BYTES_MAX), offset);
    if (block === undefined || block.usedLengthBytes > left) break;
    blocks.push(block);
    left -= block.usedLengthBytes;
    offset = block.mappedRam!.pagesOffset + block.usedLengthBytes;
  }
  return { blocks, totalBytes };
}

async function readView(file: CaptureFile, offset: number, length: number): Promise<DataView> {
  const bytes = new Uint8Array(length);
  const there = await file.readUpTo(bytes, offset);
  return new DataView(bytes.buffer, 0, there);
}

function readEntry(view: DataView, offset: number): RamBlockDescriptor | undefined {
  const nameBytes = view.byteLength === 0 ? 0 : view.getUint8(0);
  const headerAt = 1 + nameBytes + LENGTH_BYTES;
  if (nameBytes === 0 || headerAt + MAPPED_RAM_HEADER_BYTES > view.byteLength) return undefined;
  const idstr = decodeText(new Uint8Array(view.buffer, 1, nameBytes));
  const usedLengthBytes = Number(view.getBigUint64(1 + nameBytes));
  const mappedRam = {
    version: view.getUint32(headerAt),
    pageSizeBytes: Number(view.getBigUint64(headerAt + 4)),
    bitmapOffset: Number(view.getBigUint64(headerAt + 12)),
    pagesOffset: Number(view.getBigUint64(headerAt + 20)),
  };
  const plausible =
    mappedRam.version === 1 &&
    mappedRam.pageSizeBytes === PAGE_BYTES &&
    usedLengthBytes > 0 &&
    usedLengthBytes % PAGE_BYTES === 0 &&
    mappedRam.bitmapOffset >= offset + headerAt + MAPPED_RAM_HEADER_BYTES &&
    mappedRam.pagesOffset >= mappedRam.bitmapOffset + mappedRamBitmapBytes(usedLengthBytes) &&
    mappedRam.pagesOffset + usedLengthBytes <= Number.MAX_SAFE_INTEGER;
  return idstr === undefined || !plausible ? undefined : { idstr, usedLengthBytes, mappedRam };
}
