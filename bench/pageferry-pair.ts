import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { MigrateOptions, MigrationResult, ReceiveOptions } from '@pageferry/core/control';
import type { GoMessage, SideMessage } from './pageferry-side.ts';
import { type BenchConfig, type BenchRun, cpuSeconds, vmHwmBytes } from './run.ts';

const SIDE = fileURLToPath(new URL('./pageferry-side.ts', import.meta.url));

/**
 * The same migration as `benchQemuPair`, from a pageferry process to a pageferry process.
 *
 * @param built run the packages' `dist`, as installed packages do, instead of their sources
 */
export async function benchPageferryPair(config: BenchConfig, built: boolean): Promise<BenchRun> {
  const { compression, channels, content } = config;
  const options = { multifd: true, multifdChannels: channels, multifdCompression: compression };
  const size = String(content.sizeBytes);
  await using destination = new Side(
    ['destination', size, JSON.stringify(options satisfies ReceiveOptions)],
    built,
  );
  await using source = new Side(
    ['source', size, JSON.stringify(options satisfies MigrateOptions), content.path],
    built,
  );
  const both = [source, destination];
  const [, { uri }] = await Promise.all([source.next('ready'), destination.next('ready')]);
  const before = both.map(({ pid }) => cpuSeconds(pid));
  source.go({ uri: uri! });
  const [{ result }] = await Promise.all([source.next('done'), destination.next('done')]);
  const costs = both.map(({ pid }, index) => ({
    cpuSeconds: cpuSeconds(pid) - before[index]!,
    vmHwmBytes: vmHwmBytes(pid),
  }));
  return {
    engine: 'pageferry',
    compression,
    channels,
    ...timesOf(result),
    guestBytes: content.sizeBytes,
    nonZeroBytes: content.nonZeroBytes,
    source: costs[0]!,
    destination: costs[1]!,
  };
}

function timesOf(result: MigrationResult) {
  const { totalTimeMs, setupTimeMs, downtimeMs, ram } = result;
  return {
    totalMs: totalTimeMs,
    setupMs: setupTimeMs,
    downtimeMs,
    transferredBytes: ram.transferred,
  };
}

/** A child process that runs one side. */
class Side implements AsyncDisposable {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #messages: SideMessage[] = [];
  #wake = () => {};
  #hasExited = false;

  constructor(args: string[], built: boolean) {
    this.#child = fork(SIDE, args, { execArgv: built ? [] : ['--conditions=pageferry-src'] });
    this.pid = this.#child.pid!;
    this.#child.on('message', (message: SideMessage) => {
      this.#messages.push(message);
      this.#wake();
    });
    this.#exited = new Promise((resolve) => {
      this.#child.once('exit', () => {
        this.#hasExited = true;
        this.#wake();
        resolve();
      });
    });
  }

  go(message: GoMessage): void {
    this.#child.send(message);
  }

  async next<T extends SideMessage['type']>(type: T): Promise<Extract<SideMessage, { type: T }>> {
    for (;;) {
      const message = this.#messages.shift();
      if (message?.type === 'failed') throw new Error(`pageferry: ${message.message}`);
      if (message?.type === type) return message as Extract<SideMessage, { type: T }>;
      if (this.#hasExited) throw new Error('pageferry: the process ended early');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}
