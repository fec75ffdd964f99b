import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { RamBlockDescriptor } from '../wire/messages.ts';
import { mappedRamBitmapBytes } from '../wire/ram-records.ts';
import type { CaptureFile } from './capture-file.ts';
import { type PageRun, setRuns } from './mapped-ram.ts';

/** A run of pages and where it is in the file. */
export interface FileRun extends PageRun {
  readonly offset: number;
}

/**
 * The runs of pages of a block that a mapped-ram file holds, each of at most `maxPages`.
 * @throws MigrationError `truncated` when the bitmap or a page of it lies behind the file's end
 */
export async function mappedRuns(
  file: CaptureFile,
  block: RamBlockDescriptor,
  maxPages: number,
): Promise<Iterable<FileRun>> {
  const { bitmapOffset, pagesOffset } = block.mappedRam!;
  const pageCount = block.usedLengthBytes / TARGET_PAGE_BYTES;
  const bitmapBytes = mappedRamBitmapBytes(block.usedLengthBytes);
  // Before it is allocated: the length is the file's word.
  if (bitmapOffset + bitmapBytes > file.sizeBytes) {
    throw file.truncated(`the page bitmap of ${block.idstr}`, file.sizeBytes);
  }
  const bitmap = new Uint8Array(bitmapBytes);
  await file.readFully(bitmap, bitmapOffset, `the page bitmap of ${block.idstr}`);
  return runsInFile(file, block.idstr, setRuns(bitmap, pageCount, maxPages), pagesOffset);
}

function* runsInFile(
  file: CaptureFile,
  idstr: string,
  runs: Iterable<PageRun>,
  pagesOffset: number,
): Generator<FileRun> {
  for (const { first, count } of runs) {
    const offset = pagesOffset + first * TARGET_PAGE_BYTES;
    if (offset + count * TARGET_PAGE_BYTES > file.sizeBytes) {
      throw file.truncated(`page ${first} of ${idstr} or one of the ${count - 1} behind it`, file.sizeBytes);
    }
    yield { first, count, offset };
  }
}
