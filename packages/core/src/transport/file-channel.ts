import * as fs from 'node:fs';
import { promisify } from 'node:util';
import { MigrationError } from '../error.ts';
import type { ByteChannel } from './byte-channel.ts';
import { errnoOf } from './limits.ts';
import type { FileAddress } from './uri.ts';
import { WriteQueue } from './write-queue.ts';

const openFile = promisify(fs.open);
const closeFile = promisify(fs.close);
const statFile = promisify(fs.fstat);
const truncateFile = promisify(fs.ftruncate);
const readFile = promisify(fs.read);
const writeFile = promisify(fs.writev);

const READ_BYTES = 1024 * 1024;

/** An open file as a channel sees it. `position` undefined: the descriptor's own position is used and moved. */
export interface OpenFile {
  readonly fd: number;
  /** For messages. */
  readonly path: string;
  readonly position?: number;
}

/**
 * Opens the file of a `file:` address.
 *
 * For writing it is created with mode 0600 and cut at the offset, as QEMU does it. Opening does not wait for
 * the other end of a named pipe: those are refused, `exec:cat` and `fd:` take them.
 *
 * @throws MigrationError `file-failed`
 */
export async function openFileAddress(address: FileAddress, direction: 'read' | 'write'): Promise<OpenFile> {
  const { path, offset } = address;
  const { O_CREAT, O_WRONLY, O_RDONLY, O_NONBLOCK = 0 } = fs.constants;
  let fd: number;
  try {
    fd = await openFile(path, (direction === 'write' ? O_CREAT | O_WRONLY : O_RDONLY) | O_NONBLOCK, 0o600);
  } catch (cause) {
    throw fileFailed(`the file cannot be opened to ${direction}`, path, undefined, cause);
  }
  try {
    const stats = await statFile(fd);
    if (!stats.isFile() && !(direction === 'read' && stats.isBlockDevice())) {
      throw new MigrationError('file-failed', 'not a regular file', {
        channel: path,
        expected: 'a regular file',
      });
    }
    if (direction === 'write') await truncateFile(fd, offset);
    return { fd, path, position: offset };
  } catch (error) {
    fs.close(fd, () => {});
    throw fileFailed('the file cannot be prepared', path, undefined, error);
  }
}

/** What reading and writing channels over a file have in common: one direction, one operation at a time. */
abstract class FileChannel implements ByteChannel {
  readonly name: string;
  readonly duplex = false;
  readonly failed: Promise<never>;
  abstract readonly bytesWritten: number;
  abstract readonly bytesRead: number;
  protected readonly file: OpenFile;
  protected failure: Error | undefined;
  /** The operation that the kernel works on: the descriptor must stay open until it is over. */
  protected running: Promise<unknown> = Promise.resolve();
  protected closed: Promise<void> | undefined;
  #reject: (error: Error) => void = () => {};
  #descriptorClosed: Promise<void> | undefined;

  constructor(name: string, file: OpenFile) {
    this.name = name;
    this.file = file;
    this.failed = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.failed.catch(() => {});
  }

  abstract write(bytes: Uint8Array): boolean;
  abstract drained(): Promise<void>;
  abstract flushed(): Promise<void>;
  abstract read(): Promise<Uint8Array | undefined>;
  protected abstract onFailure(error: Error): void;

  close(): Promise<void> {
    this.closed ??= this.#close();
    return this.closed;
  }

  destroy(error: Error): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.onFailure(error);
    this.#reject(error);
    this.#closeDescriptor().catch(() => {});
  }

  async #close(): Promise<void> {
    try {
      await this.flushed();
      await this.#closeDescriptor();
    } catch (error) {
      // Some file systems report only here that what was written is lost.
      this.destroy(
        this.failure ?? fileFailed('the file cannot be closed', this.file.path, this.bytesWritten, error),
      );
    }
    if (this.failure !== undefined) throw this.failure;
  }

  #closeDescriptor(): Promise<void> {
    this.#descriptorClosed ??= this.running.then(
      () => closeFile(this.file.fd),
      () => closeFile(this.file.fd),
    );
    return this.#descriptorClosed;
  }
}

/** Writes a file from its position on. */
export class FileWriteChannel extends FileChannel {
  readonly #queue = new WriteQueue((batch, done) => {
    this.running = this.#write(batch).then(
      () => done(),
      (error: unknown) => {
        done(error as Error);
        this.destroy(fileFailed('the file cannot be written', this.file.path, this.#position, error));
      },
    );
  });
  #position: number | undefined;

  constructor(name: string, file: OpenFile) {
    super(name, file);
    this.#position = file.position;
  }

  get bytesWritten(): number {
    return this.#queue.writtenBytes;
  }

  get bytesRead(): number {
    return 0;
  }

  write(bytes: Uint8Array): boolean {
    if (this.closed !== undefined && this.failure === undefined)
      throw new MigrationError('internal', `writing to ${this.name} after its end`);
    return this.#queue.write(bytes);
  }

  drained(): Promise<void> {
    return this.#queue.drained();
  }

  flushed(): Promise<void> {
    return this.#queue.flushed();
  }

  read(): Promise<Uint8Array | undefined> {
    return Promise.reject(new MigrationError('internal', `reading from ${this.name}, which is only written`));
  }

  protected onFailure(error: Error): void {
    this.#queue.fail(error);
  }

  /** All of `batch`: the kernel may take less at a time, as when the disk is nearly full. */
  async #write(batch: readonly Uint8Array[]): Promise<void> {
    let rest: readonly Uint8Array[] = batch;
    while (rest.length > 0) {
      const { bytesWritten } = await writeFile(this.file.fd, rest, this.#position);
      if (bytesWritten === 0) throw new Error('nothing could be written');
      if (this.#position !== undefined) this.#position += bytesWritten;
      rest = skip(rest, bytesWritten);
    }
  }
}

/** Reads a file from its position on, one piece ahead of the caller. */
export class FileReadChannel extends FileChannel {
  readonly bytesWritten = 0;
  #bytesRead = 0;
  readonly #buffers = [Buffer.allocUnsafeSlow(READ_BYTES), Buffer.allocUnsafeSlow(READ_BYTES)] as const;
  #turn = 0;
  #position: number | undefined;
  #ahead: Promise<Uint8Array | undefined> | undefined;
  #rejectRead: ((error: Error) => void) | undefined;

  constructor(name: string, file: OpenFile) {
    super(name, file);
    this.#position = file.position;
  }

  get bytesRead(): number {
    return this.#bytesRead;
  }

  write(): boolean {
    throw new MigrationError('internal', `writing to ${this.name}, which is only read`);
  }

  drained(): Promise<void> {
    return this.flushed();
  }

  flushed(): Promise<void> {
    return this.failure === undefined ? Promise.resolve() : Promise.reject(this.failure);
  }

  read(): Promise<Uint8Array | undefined> {
    if (this.#rejectRead !== undefined) {
      return Promise.reject(new MigrationError('internal', 'a second read of a channel at the same time'));
    }
    if (this.failure !== undefined) return Promise.reject(this.failure);
    if (this.closed !== undefined) return Promise.resolve(undefined);
    const next = this.#ahead ?? this.#fill();
    this.#ahead = undefined;
    return new Promise((resolve, reject) => {
      this.#rejectRead = reject;
      next.then((chunk) => {
        this.#rejectRead = undefined;
        if (chunk !== undefined) {
          this.#bytesRead += chunk.byteLength;
          // The other buffer: this one is the caller's until the next call.
          if (this.closed === undefined && this.failure === undefined) this.#ahead = this.#fill();
        }
        resolve(chunk);
      });
    });
  }

  protected onFailure(error: Error): void {
    this.#rejectRead?.(error);
    this.#rejectRead = undefined;
  }

  /** Undefined at the end of the file and after a failure, which is reported otherwise. */
  #fill(): Promise<Uint8Array | undefined> {
    const buffer = this.#buffers[this.#turn % 2]!;
    this.#turn++;
    const filled = readFile(this.file.fd, buffer, 0, buffer.byteLength, this.#position ?? null).then(
      ({ bytesRead }) => {
        if (this.#position !== undefined) this.#position += bytesRead;
        return bytesRead === 0 ? undefined : buffer.subarray(0, bytesRead);
      },
      (error: unknown) => {
        this.destroy(fileFailed('the file cannot be read', this.file.path, this.#position, error));
        return undefined;
      },
    );
    this.running = filled;
    return filled;
  }
}

function skip(pieces: readonly Uint8Array[], lengthBytes: number): readonly Uint8Array[] {
  let left = lengthBytes;
  let index = 0;
  while (index < pieces.length && left >= pieces[index]!.byteLength) left -= pieces[index++]!.byteLength;
  const rest = pieces.slice(index);
  if (left > 0) rest[0] = rest[0]!.subarray(left);
  return rest;
}

function fileFailed(
  message: string,
  path: string,
  offset: number | undefined,
  cause: unknown,
): MigrationError {
  if (cause instanceof MigrationError) return cause;
  return new MigrationError('file-failed', message, {
    found: errnoOf(cause),
    channel: path,
    ...(offset === undefined ? {} : { offset }),
    cause,
  });
}
