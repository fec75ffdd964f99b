import { randomBytes } from 'node:crypto';
import { constants, type FileHandle, lstat, open, realpath, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '../error.ts';
import { checkCancelled, fileError } from '../file-error.ts';

/** How long a discarded file is waited for until it is closed, ms. */
const CLOSE_LIMIT_MS = 200;

/**
 * A file that appears under its name only when it is whole: it is written under a temporary name in the same
 * directory, readable by its owner alone (it holds a guest's memory), and renamed when it is on the disk.
 */
export class AtomicFile {
  /** The final name. */
  readonly path: string;
  readonly handle: FileHandle;
  readonly temporaryPath: string;
  #open = true;
  #renamed = false;

  private constructor(path: string, temporaryPath: string, handle: FileHandle) {
    this.path = path;
    this.temporaryPath = temporaryPath;
    this.handle = handle;
  }

  /**
   * Creates the temporary file. Nothing happens to a file that has the final name already until `commit`.
   * @throws MigrationError `file-failed`: the directory is missing or not writable, or the name belongs to
   *   something that is not a regular file
   */
  static async create(path: string): Promise<AtomicFile> {
    try {
      const target = await resolveTarget(resolve(path));
      const random = randomBytes(9).toString('base64url');
      const temporaryPath = join(dirname(target), `.${basename(target).slice(0, 100)}.${random}.part`);
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
      return new AtomicFile(target, temporaryPath, await open(temporaryPath, flags, 0o600));
    } catch (error) {
      throw fileError(error, path, `create ${path}`);
    }
  }

  /**
   * Brings the bytes to the disk, then the name, then the directory. The file is closed afterwards.
   * @throws MigrationError `file-failed`, or `cancelled` when `signal` came before the file had its name
   */
  async commit(signal?: AbortSignal): Promise<void> {
    try {
      await this.handle.sync();
      await this.#close();
      checkCancelled(signal, this.path);
      await rename(this.temporaryPath, this.path);
      this.#renamed = true;
      await syncDirectory(dirname(this.path));
    } catch (error) {
      throw fileError(error, this.path, `complete ${this.path}`);
    }
  }

  /** Removes the temporary file; a committed file stays. Never throws, and may be called more than once. */
  async discard(): Promise<void> {
    // The name first: closing waits for whatever is still being written, an fsync of many seconds included,
    // and whoever cancels does not wait for that.
    if (!this.#renamed) await unlink(this.temporaryPath).catch(() => undefined);
    const closed = this.#close().catch(() => undefined);
    await Promise.race([closed, delay(CLOSE_LIMIT_MS, undefined, { ref: false })]);
  }

  async #close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.handle.close();
  }
}

/** Follows a symbolic link (a rename would replace the link) and refuses to replace devices and directories. */
async function resolveTarget(path: string): Promise<string> {
  const stat = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (stat === undefined || stat.isFile()) return path;
  if (stat.isSymbolicLink()) return resolveTarget(await realpath(path));
  throw new MigrationError('file-failed', `${path} exists and is not a regular file`, {
    channel: path,
    phase: 'file',
    retryable: false,
  });
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } catch (error) {
    // Some network file systems cannot do it; their rename is as durable as they make it.
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'EINVAL' && code !== 'ENOTSUP') throw error;
  } finally {
    await directory.close();
  }
}

/** Writes all of `bytes` at `offset`, however many calls that takes. */
export async function writeFully(
  handle: FileHandle,
  path: string,
  bytes: Uint8Array,
  offset: number,
): Promise<void> {
  try {
    let done = 0;
    while (done < bytes.length) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done);
      // Never seen of a file, and it would go on for ever.
      if (bytesWritten === 0)
        throw new MigrationError('file-failed', 'the system writes nothing', { channel: path });
      done += bytesWritten;
    }
  } catch (error) {
    throw fileError(error, path, `write ${path}`);
  }
}
