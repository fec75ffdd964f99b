import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { QmpClient } from '@pageferry/core/qmp';
import { Interrupt } from '../../packages/cli/src/interrupt.ts';
import { runProgram } from '../../packages/cli/src/program.ts';
import { TemporaryFolder } from './capture-files.ts';

/**
 * `pageferry serve` within this process, with a client connected to it: the same code as the command's, without the
 * time that a process takes to start.
 */
export class Served implements AsyncDisposable {
  readonly qmp: QmpClient;
  /** Private folder, gone after disposal. */
  readonly folder: string;
  /** Resolves to the exit code. */
  readonly exited: Promise<number>;
  readonly #interrupt: Interrupt;
  readonly #stderr: () => string;

  private constructor(
    qmp: QmpClient,
    folder: string,
    exited: Promise<number>,
    interrupt: Interrupt,
    stderr: () => string,
  ) {
    this.qmp = qmp;
    this.folder = folder;
    this.exited = exited;
    this.#interrupt = interrupt;
    this.#stderr = stderr;
  }

  /** @param args of `serve`, without `--qmp` */
  static async start(...args: string[]): Promise<Served> {
    const { path: folder } = await TemporaryFolder.create();
    const socket = join(folder, 'qmp');
    const interrupt = new Interrupt(() => {});
    const listening = Promise.withResolvers<void>();
    let stderr = '';
    const streams = {
      stdout: { write: (text: string) => text.includes('"listening"') && listening.resolve() },
      stderr: {
        write: (text: string) => {
          stderr += text;
        },
      },
      version: '0.0.0',
    };
    const exited = runProgram(['serve', '--json', '--qmp', `unix:${socket}`, ...args], streams, interrupt);
    const died = exited.then((code) => {
      throw new Error(`pageferry serve ended with ${code}: ${stderr}`);
    });
    died.catch(() => {});
    try {
      await Promise.race([listening.promise, died]);
      const qmp = await QmpClient.connect({ transport: 'unix', path: socket });
      return new Served(qmp, folder, exited, interrupt, () => stderr);
    } catch (error) {
      interrupt.deliver('SIGTERM');
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** What it has logged. */
  stderr(): string {
    return this.#stderr();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.qmp.close();
    this.#interrupt.deliver('SIGTERM');
    await this.exited;
    await rm(this.folder, { recursive: true, force: true });
  }
}
