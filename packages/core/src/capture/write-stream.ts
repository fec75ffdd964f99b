import type { FileHandle } from 'node:fs/promises';
import { checkCancelled } from '../file-error.ts';
import { RamBlock, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { isZeroPage } from '../memory/zero-page.ts';
import { RamFlag } from '../wire/messages.ts';
import { encodePageHeader, encodeRamBlocks } from '../wire/ram-records.ts';
import { encodeSectionPart } from '../wire/section.ts';
import { encodeCountedString } from '../wire/text.ts';
import { writeFully } from './atomic-file.ts';
import type { CaptureContent, CaptureIoOptions } from './capture.ts';
import { InFlight } from './in-flight.ts';
import { scanSlices } from './non-zero-runs.ts';
import { encodeClosing, encodeOpening, encodeSetupEnd, leavesOut } from './stream-pieces.ts';

const BUFFER_BYTES = 2 * 1024 * 1024;
/** The longest page record: word, name of 255 bytes with its length, page. */
const RECORD_BYTES_MAX = 8 + 256 + TARGET_PAGE_BYTES;

/**
 * Writes a stopped guest as a plain migration stream, each page once, all in one PART.
 *
 * @param handle an empty file, opened for writing
 * @param path for error messages
 * @throws MigrationError `file-failed`, `cancelled`, `unsupported`
 */
export async function writeStream(
  handle: FileHandle,
  path: string,
  content: CaptureContent,
  options: CaptureIoOptions = {},
): Promise<void> {
  const blocks = content.memory.map((memory) => new RamBlock(memory));
  const totalBytes = blocks.reduce((sum, block) => sum + block.usedLengthBytes, 0);
  const output = new StreamOutput(handle, path);
  try {
    await output.append(encodeOpening(content, 'stream'));
    await output.append(encodeRamBlocks(totalBytes, blocks, leavesOut(content)));
    await output.append(encodeSetupEnd(content));
    await output.append(encodeSectionPart(content.ramSectionId));
    let doneBytes = 0;
    for (const block of blocks) {
      if (block.elsewhere) continue;
      // Only the first page of a block carries its name; CONTINUE stands for "the same as before".
      let name: Uint8Array | undefined = encodeCountedString(block.idstr);
      for await (const { from, end } of scanSlices(block.pageCount)) {
        checkCancelled(options.signal, path);
        for (let page = from; page < end; page++) {
          if (output.room < RECORD_BYTES_MAX) await output.flush();
          output.page(block.bytes, page, name);
          name = undefined;
        }
        doneBytes += (end - from) * TARGET_PAGE_BYTES;
        options.onProgress?.({ doneBytes, totalBytes });
      }
    }
    await output.append(encodeClosing(content));
    await output.flush();
    await output.writes.drain();
  } finally {
    await output.writes.settle();
  }
}

/** Collects a stream in one buffer while another one is being written. */
class StreamOutput {
  readonly writes = new InFlight(1);
  readonly #handle: FileHandle;
  readonly #path: string;
  #buffer = new Uint8Array(BUFFER_BYTES);
  #spare = new Uint8Array(BUFFER_BYTES);
  #used = 0;
  #offset = 0;

  constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  get room(): number {
    return BUFFER_BYTES - this.#used;
  }

  /** Adds a page record; there must be room for it. */
  page(bytes: Uint8Array, page: number, name: Uint8Array | undefined): void {
    const start = page * TARGET_PAGE_BYTES;
    if (isZeroPage(bytes, start)) {
      this.#used = encodePageHeader(this.#buffer, this.#used, name, page, RamFlag.zero);
      this.#buffer[this.#used++] = 0;
    } else {
      this.#used = encodePageHeader(this.#buffer, this.#used, name, page, RamFlag.page);
      this.#buffer.set(bytes.subarray(start, start + TARGET_PAGE_BYTES), this.#used);
      this.#used += TARGET_PAGE_BYTES;
    }
  }

  /** Adds bytes of any length. */
  async append(bytes: Uint8Array): Promise<void> {
    let at = 0;
    while (at < bytes.length) {
      if (this.room === 0) await this.flush();
      const piece = bytes.subarray(at, at + this.room);
      this.#buffer.set(piece, this.#used);
      this.#used += piece.length;
      at += piece.length;
    }
  }

  /** Starts writing what was collected; waits for the write before it. */
  async flush(): Promise<void> {
    const bytes = this.#buffer.subarray(0, this.#used);
    const offset = this.#offset;
    await this.writes.run(() => writeFully(this.#handle, this.#path, bytes, offset));
    // One write is in flight at most, so the other buffer is free by now.
    [this.#buffer, this.#spare] = [this.#spare, this.#buffer];
    this.#offset += this.#used;
    this.#used = 0;
  }
}
