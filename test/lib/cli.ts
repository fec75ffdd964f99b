import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** The `pageferry` command as a child process, as a person or a script would run it. */

const command = fileURLToPath(new URL('../../packages/cli/bin/pageferry.js', import.meta.url));
/** Each command has several threads, and each would compile the sources anew: half of the time of a small test. */
const compileCache = fileURLToPath(new URL('../../node_modules/.cache/node-compile/', import.meta.url));

/** One line of `--json`. */
export interface CliEvent {
  event: string;
  // Each event has members of its own; the assertions on them are the check.
  [member: string]: unknown;
}

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running command. It is killed when the test that started it ends. */
export class Cli {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  #stdout = '';
  #stderr = '';
  readonly #closed: Promise<unknown>;
  #wake = () => {};

  constructor(args: readonly string[], t?: { after(hook: () => void): void }) {
    const env = { ...process.env, NODE_OPTIONS: '', NODE_COMPILE_CACHE: compileCache };
    this.#child = spawn(process.execPath, [command, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      this.#wake();
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.#closed = once(this.#child, 'close').then(() => this.#wake());
    t?.after(() => this.#child.kill('SIGKILL'));
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Says something to the command; without text, that nothing more comes. */
  type(text?: string): void {
    if (text === undefined) this.#child.stdin.end();
    else this.#child.stdin.write(text);
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** The first line of this event (that fits), as soon as it is there. */
  async event(name: string, fits: (event: CliEvent) => boolean = () => true): Promise<CliEvent> {
    for (;;) {
      const more = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      const found = jsonLines(this.#stdout.slice(0, this.#stdout.lastIndexOf('\n') + 1)).find(
        (line) => line.event === name && fits(line),
      );
      if (found !== undefined) return found;
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        await this.#closed;
        assert.fail(`the command ended without a line of event ${name}:\n${this.#stdout}${this.#stderr}`);
      }
      await more;
    }
  }

  /** Resolves when stderr holds this. */
  async told(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.#stderr)) {
      assert.equal(this.#child.exitCode, null, `the command ended without a word of ${pattern}`);
      await once(this.#child.stderr, 'data');
    }
  }

  async finished(): Promise<CliResult> {
    await this.#closed;
    return { code: this.#child.exitCode, stdout: this.#stdout, stderr: this.#stderr };
  }
}

/** Runs a command to its end. */
export function runCli(...args: string[]): Promise<CliResult> {
  return new Cli(args).finished();
}

/** The lines of a `--json` output. Throws when one is not a JSON object with an event. */
export function jsonLines(stdout: string): CliEvent[] {
  const lines = stdout === '' ? [] : stdout.replace(/\n$/, '').split('\n');
  return lines.map((line) => {
    const parsed = JSON.parse(line) as CliEvent;
    assert.equal(typeof parsed.event, 'string', line);
    return parsed;
  });
}

/** The last line of a `--json` output. */
export function lastEvent(result: CliResult): CliEvent {
  const last = jsonLines(result.stdout).at(-1);
  assert.ok(last, `no line on stdout; stderr:\n${result.stderr}`);
  return last;
}
