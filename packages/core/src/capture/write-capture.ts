import type { FileHandle } from 'node:fs/promises';
import { AtomicFile } from './atomic-file.ts';
import type { CaptureContent, CaptureFormat, CaptureIoOptions } from './capture.ts';
import { writeMappedRam } from './write-mapped-ram.ts';
import { writeStream } from './write-stream.ts';

/** Writes a stopped guest into an empty file in either format. */
export function writeContent(
  handle: FileHandle,
  path: string,
  format: CaptureFormat,
  content: CaptureContent,
  options: CaptureIoOptions = {},
): Promise<void> {
  const write = format === 'mapped-ram' ? writeMappedRam : writeStream;
  return write(handle, path, content, options);
}

/**
 * Writes a capture file: whole and on the disk when the promise resolves, or not there at all.
 * A file that has the name already is replaced.
 *
 * @throws MigrationError `file-failed`, `cancelled`, `unsupported`
 */
export async function writeCapture(
  path: string,
  format: CaptureFormat,
  content: CaptureContent,
  options: CaptureIoOptions = {},
): Promise<void> {
  const file = await AtomicFile.create(path);
  try {
    await writeContent(file.handle, path, format, content, options);
    await file.commit(options.signal);
  } catch (error) {
    await file.discard();
    throw error;
  }
}
