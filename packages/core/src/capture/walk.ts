import { checkCancelled } from '../file-error.ts';
import type { StreamMessage } from '../wire/messages.ts';
import { StreamDecoder } from '../wire/stream-decoder.ts';
import type { CaptureFile } from './capture-file.ts';
import type { CaptureReadOptions, ReadProgress } from './read-progress.ts';

const CHUNK_BYTES = 1024 * 1024;

/**
 * Takes one message; `offset` is where it begins in the file, `endOffset` where the next one does. A promise is
 * waited for before the next message.
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
      const pending = visit(message, messageOffset, endOffset);
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
