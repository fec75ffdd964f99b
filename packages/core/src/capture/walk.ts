import { inflateSync } from 'node:zlib';
import { MigrationError } from '../error.ts';
import { checkCancelled } from '../file-error.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { RamCompressedPageMessage, RamPageMessage, StreamMessage } from '../wire/messages.ts';
import { StreamDecoder } from '../wire/stream-decoder.ts';
import type { CaptureFile } from './capture-file.ts';
import type { CaptureReadOptions, ReadProgress } from './read-progress.ts';

const CHUNK_BYTES = 1024 * 1024;

/**
 * Takes one message; `offset` is where it begins in the file, `endOffset` where the next one does. A promise is
 * waited for before the next message. After a `ram-compressed-page` comes the same page as `ram-page`.
 */
export type MessageVisitor = (
  message: StreamMessage,
  offset: number,
  endOffset: number,
) => Promise<void> | undefined;

/**
 * Decodes a capture file from `offsetBytes` on and hands every message to `visit`, skipping over the pages of a
 * mapped-ram file. Returns where the stream ends.
 * @throws MigrationError of the decoder, with the file as channel; `cancelled`; what `visit` throws
 */
export async function walkStream(
  file: CaptureFile,
  visit: MessageVisitor,
  options: CaptureReadOptions,
  progress: ReadProgress,
): Promise<number> {
  const start = options.offsetBytes ?? 0;
  const decoder = new StreamDecoder({ channel: file.path, offset: start });
  const chunk = new Uint8Array(CHUNK_BYTES);
  let readOffset = start;
  let messageOffset = start;
  for (;;) {
    for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
      const endOffset = decoder.offset;
      let pending = visit(message, messageOffset, endOffset);
      if (message.type === 'ram-compressed-page') {
        const page = inflatePage(message, file.path, endOffset - message.data.length);
        pending = visit(page, messageOffset, endOffset);
      }
      messageOffset = endOffset;
      if (pending !== undefined) await pending;
    }
    if (decoder.done) {
      progress.reached(file.sizeBytes);
      return decoder.offset;
    }
    checkCancelled(options.signal, file.path);
    const { wanted } = decoder;
    // In a file that ends before, its last byte at least: the decoder's error says where that was.
    if (wanted !== undefined) readOffset = Math.max(readOffset, Math.min(wanted, file.sizeBytes - 1));
    const length = await file.readUpTo(chunk, readOffset);
    decoder.push(chunk.subarray(0, length), readOffset);
    readOffset += length;
    if (length < chunk.length) decoder.end();
    // The block list of a mapped-ram file reaches to its end before any page was read.
    if (wanted === undefined) progress.reached(readOffset);
  }
}

/** @throws MigrationError `bad-compressed-data` */
function inflatePage(message: RamCompressedPageMessage, channel: string, offset: number): RamPageMessage {
  const { blockIndex, pageIndex } = message;
  const bad = (found: string, cause?: unknown) =>
    new MigrationError('bad-compressed-data', 'a compressed page cannot be inflated', {
      channel,
      offset,
      found,
      expected: `one zlib stream of ${TARGET_PAGE_BYTES} bytes`,
      cause,
    });
  let data: Uint8Array;
  try {
    data = inflateSync(message.data, { maxOutputLength: TARGET_PAGE_BYTES });
  } catch (error) {
    throw bad((error as Error).message, error);
  }
  if (data.length !== TARGET_PAGE_BYTES) throw bad(`${data.length} bytes`);
  return { type: 'ram-page', blockIndex, pageIndex, data };
}
