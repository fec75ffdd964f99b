import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { MigrationError } from '../error.ts';
import type { ByteChannel } from './byte-channel.ts';
import { errnoOf, within } from './limits.ts';
import { SocketChannel } from './socket-channel.ts';
import { rewrap, SocketReader } from './socket-reader.ts';

/** How much of what the command says on its standard error goes into an error's message. */
const STDERR_TAIL_BYTES = 2048;
/** How long a command may work on after the end of its input. */
const EXIT_TIMEOUT_MS = 30_000;
/** How long the end of a command's pipe waits for the exit code that explains it. */
const EXPLAIN_MS = 1_000;
/** How long what a command said last may take after its exit: its own children may hold the pipe open. */
const STDERR_MS = 100;

export interface CommandOptions {
  readonly name: string;
  /** `write`: the channel's bytes are the command's input; `read`: its output is the channel's bytes. */
  readonly direction: 'read' | 'write';
  readonly closeTimeoutMs?: number | undefined;
}

/**
 * Starts `/bin/sh -c command`, in a process group of its own, which is killed as a whole when the channel is
 * destroyed or closed.
 *
 * @throws MigrationError `connect-failed` or `listen-failed` when the shell cannot be started
 */
export async function openCommand(command: string, options: CommandOptions): Promise<ByteChannel> {
  const { direction } = options;
  try {
    const child = spawn('/bin/sh', ['-c', command], {
      stdio: [direction === 'write' ? 'pipe' : 'ignore', direction === 'read' ? 'pipe' : 'ignore', 'pipe'],
      detached: true,
    });
    const started = new Promise<void>((resolve, reject) =>
      child.once('spawn', resolve).once('error', reject),
    );
    // Made at once: the socket that Node made for the output must not read a byte.
    const channel = child.pid === undefined ? undefined : new ExecChannel(child, options);
    await started;
    return channel!;
  } catch (cause) {
    throw new MigrationError(
      direction === 'write' ? 'connect-failed' : 'listen-failed',
      'the command cannot be started',
      { found: errnoOf(cause), channel: options.name, cause },
    );
  }
}

/** How a command ended badly; undefined for exit code 0. */
type BadEnding = string | undefined;

class ExecChannel implements ByteChannel {
  readonly name: string;
  readonly duplex = false;
  readonly #inner: SocketChannel;
  readonly #child: ChildProcess;
  readonly #direction: 'read' | 'write';
  readonly #ended: Promise<BadEnding>;
  readonly #onProcessExit = () => this.#release();
  #stderr = Buffer.alloc(0);
  #groupGone = false;
  #closing: Promise<void> | undefined;

  constructor(child: ChildProcess, options: CommandOptions) {
    const { name, direction, closeTimeoutMs } = options;
    this.name = name;
    this.#child = child;
    this.#direction = direction;
    this.#ended = this.#watch();
    process.once('exit', this.#onProcessExit);
    const explain = (error: MigrationError): Promise<Error> => this.#explain(error);
    if (direction === 'write') {
      const socket = child.stdin as Socket;
      this.#inner = new SocketChannel({ name, socket, writable: true, closeTimeoutMs, explain });
      // A command that fails while nothing is written must not go unnoticed.
      this.#ended.then((ending) => {
        if (ending !== undefined && this.#closing === undefined) this.destroy(this.#failure(ending));
      });
    } else {
      const reader = new SocketReader();
      const socket = rewrap(child.stdout as Socket, reader.onread, { writable: false });
      const atEnd = async (): Promise<void> => {
        const ending = await this.#endingSoon();
        if (ending !== undefined) throw this.#failure(ending);
      };
      this.#inner = new SocketChannel({
        name,
        socket,
        reader,
        writable: false,
        closeTimeoutMs,
        explain,
        atEnd,
      });
    }
    this.#inner.failed.catch(() => this.#release());
  }

  get failed(): Promise<never> {
    return this.#inner.failed;
  }

  get bytesWritten(): number {
    return this.#inner.bytesWritten;
  }

  get bytesRead(): number {
    return this.#inner.bytesRead;
  }

  write(bytes: Uint8Array): boolean {
    return this.#inner.write(bytes);
  }

  drained(): Promise<void> {
    return this.#inner.drained();
  }

  flushed(): Promise<void> {
    return this.#inner.flushed();
  }

  read(): Promise<Uint8Array | undefined> {
    return this.#inner.read();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  destroy(error: Error): void {
    this.#inner.destroy(error);
  }

  /**
   * A command that takes the stream has to end with 0 for the stream to be safe; one that gave it has done
   * its work when the stream was read, and is ended.
   */
  async #close(): Promise<void> {
    try {
      await this.#inner.close();
      if (this.#direction === 'read') return;
      const ending = await within(Promise.race([this.#ended, this.#inner.failed]), {
        time: {
          limitMs: EXIT_TIMEOUT_MS,
          onTimeout: () => this.#failure(`no exit within ${EXIT_TIMEOUT_MS} ms after the end of the stream`),
        },
      });
      if (ending !== undefined) throw this.#failure(ending);
    } finally {
      this.#release();
      await this.#endingSoon();
    }
  }

  #watch(): Promise<BadEnding> {
    const stderr = this.#child.stderr!;
    stderr.on('data', (bytes: Buffer) => {
      this.#stderr = Buffer.concat([this.#stderr, bytes]).subarray(-STDERR_TAIL_BYTES);
    });
    stderr.on('error', () => {});
    return new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        // The id of a group with living members is not given to another.
        this.#groupGone = !this.#signalGroup(0);
        const ending = code === 0 ? undefined : signal === null ? `exit code ${code}` : `signal ${signal}`;
        const timer = setTimeout(() => resolve(ending), STDERR_MS);
        stderr.once('close', () => {
          clearTimeout(timer);
          resolve(ending);
        });
        if (stderr.closed) {
          clearTimeout(timer);
          resolve(ending);
        }
      });
    });
  }

  #endingSoon(): Promise<BadEnding> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), EXPLAIN_MS);
      this.#ended.then((ending) => {
        clearTimeout(timer);
        resolve(ending);
      });
    });
  }

  /** A broken pipe is only how a command's end looks from here. */
  async #explain(error: MigrationError): Promise<Error> {
    const ending = await this.#endingSoon();
    if (ending !== undefined) return this.#failure(ending);
    const what = this.#direction === 'write' ? 'stopped reading' : 'stopped writing';
    return new MigrationError('connection-lost', `the command ${what} before the end of the stream`, {
      found: error.found,
      channel: this.name,
      offset: error.offset,
      cause: error,
    });
  }

  #failure(ending: string): MigrationError {
    const said = this.#stderr.toString('utf8').trim();
    const writes = this.#direction === 'write';
    return new MigrationError(writes ? 'destination-failed' : 'connection-lost', 'the command failed', {
      found: said === '' ? ending : `${ending}, saying '${said}'`,
      expected: 'exit code 0',
      channel: this.name,
      offset: writes ? this.bytesWritten : this.bytesRead,
    });
  }

  #release(): void {
    process.off('exit', this.#onProcessExit);
    if (!this.#groupGone) this.#groupGone = !this.#signalGroup('SIGKILL');
    this.#child.stderr?.destroy();
  }

  /** Whether there was anybody to take the signal. */
  #signalGroup(signal: NodeJS.Signals | 0): boolean {
    try {
      return process.kill(-this.#child.pid!, signal);
    } catch {
      return false;
    }
  }
}
