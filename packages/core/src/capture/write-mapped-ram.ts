import type { FileHandle } from 'node:fs/promises';
import { checkCancelled } from '../file-error.ts';
import { RamBlock, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { concatBytes } from '../wire/byte-writer.ts';
import { encodeMappedRamEntry, layOutMappedRam } from '../wire/mapped-ram-layout.ts';
import { RamFlag } from '../wire/messages.ts';
import { encodeRamWord, mappedRamBitmapBytes } from '../wire/ram-records.ts';
import { encodeSectionPart } from '../wire/section.ts';
import { writeFully } from './atomic-file.ts';
import type { CaptureContent, CaptureIoOptions } from './capture.ts';
import { InFlight } from './in-flight.ts';
import { setRun } from './mapped-ram.ts';
import { nonZeroRuns, scanSlices } from './non-zero-runs.ts';
import { encodeClosing, encodeOpening, encodeSetupEnd } from './stream-pieces.ts';

const RUN_PAGES = (4 * 1024 * 1024) / TARGET_PAGE_BYTES;
/** Node's thread pool has four threads: more would only queue. */
const WRITES_IN_FLIGHT = 4;

/**
 * Writes a stopped guest as a mapped-ram file, laid out as QEMU does. Zero pages take no room: the file is
 * sparse there. The guest's RAM is written from where it is, without a copy.
 *
 * @param handle an empty file, opened for writing
 * @param path for error messages
 * @throws MigrationError `file-failed`, `cancelled`, `unsupported`
 */
export async function writeMappedRam(
  handle: FileHandle,
  path: string,
  content: CaptureContent,
  options: CaptureIoOptions = {},
): Promise<void> {
  const blocks = content.memory.map((memory) => new RamBlock(memory));
  const totalBytes = blocks.reduce((sum, block) => sum + block.usedLengthBytes, 0);
  const writes = new InFlight(WRITES_IN_FLIGHT);
  const write = (bytes: Uint8Array, offset: number) =>
    writes.run(() => writeFully(handle, path, bytes, offset));
  try {
    const opening = concatBytes([
      encodeOpening(content, 'mapped-ram'),
      encodeRamWord(totalBytes, RamFlag.memSize),
    ]);
    await write(opening, 0);
    const places = layOutMappedRam(blocks, opening.length);
    let doneBytes = 0;
    for (const [index, block] of blocks.entries()) {
      const place = places[index]!;
      const bitmap = new Uint8Array(mappedRamBitmapBytes(block.usedLengthBytes));
      for await (const { from, end } of scanSlices(block.pageCount)) {
        checkCancelled(options.signal, path);
        for (const run of nonZeroRuns(block.bytes, from, end, RUN_PAGES)) {
          setRun(bitmap, run);
          const start = run.first * TARGET_PAGE_BYTES;
          const pages = block.bytes.subarray(start, start + run.count * TARGET_PAGE_BYTES);
          await write(pages, place.pagesOffset + start);
        }
        doneBytes += (end - from) * TARGET_PAGE_BYTES;
        options.onProgress?.({ doneBytes, totalBytes });
      }
      await write(concatBytes([encodeMappedRamEntry(block, place), bitmap]), place.entryOffset);
    }
    const part = encodeSectionPart(content.ramSectionId);
    const rest = concatBytes([encodeSetupEnd(content), part, encodeClosing(content)]);
    await write(rest, places.at(-1)?.endOffset ?? opening.length);
    await writes.drain();
  } finally {
    await writes.settle();
  }
}
