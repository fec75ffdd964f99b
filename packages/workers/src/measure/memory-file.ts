import { constants, type FileHandle, open } from 'node:fs/promises';
import { fileError, MigrationError } from '@pageferry/core';

/** A file with guest memory, open for reading. */
export class MemoryFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly #handle: FileHandle;

  private constructor(path: string, sizeBytes: number, handle: FileHandle) {
    this.path = path;
    this.sizeBytes = sizeBytes;
    this.#handle = handle;
  }

  /** @throws MigrationError `file-failed` when it cannot be opened, `bad-file` when it is no regular file */
  static async open(path: string): Promise<MemoryFile> {
    let handle: FileHandle | undefined;
    try {
      // O_NONBLOCK, or the open of a FIFO would wait for a writer before its kind can be seen.
      handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
      const stat = await handle.stat();
      if (!stat.isFile())
        throw new MigrationError('bad-file', 'not a regular file', { channel: path, phase: 'file' });
      return new MemoryFile(path, stat.size, handle);
    } catch (error) {
      await handle?.close();
      throw fileError(error, path, `open ${path}`);
    }
  }

  /** Reads up to `target.length` bytes; fewer only at the file's end. Returns how many. */
  async readUpTo(target: Uint8Array, offset: number): Promise<number> {
    let done = 0;
    try {
      while (done < target.length) {
        const { bytesRead } = await this.#handle.read(target, done, target.length - done, offset + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (error) {
      throw fileError(error, this.path, `read ${this.path}`);
    }
    return done;
  }

  /** Fills `target`. @throws MigrationError `truncated` when the file ends before */
  async readFully(target: Uint8Array, offset: number, what: string): Promise<void> {
    const done = await this.readUpTo(target, offset);
    if (done < target.length) throw this.error('truncated', `the file ends inside ${what}`, offset + done);
  }

  /** An error about the bytes at `offset`. */
  error(
    code: 'truncated' | 'bad-file' | 'unsupported' | 'limit-exceeded',
    message: string,
    offset: number,
    details: { found?: string; expected?: string } = {},
  ): MigrationError {
    const place = { channel: this.path, offset, phase: 'file', retryable: false } as const;
    return new MigrationError(code, message, { ...place, ...details });
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
