import { MigrationError } from '@pageferry/core';

/** Exit codes of every command; one that a signal ended adds 128 to the signal's number. */
export const ExitCode = { ok: 0, failed: 1, usage: 2 } as const;

/** Where text goes; a stand-in for `process.stdout` and `process.stderr` in tests. */
export interface TextStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/**
 * What a command says. Without `--json` results go to stdout and everything else to stderr; with it stdout
 * holds one JSON object per line, `event` first, and people read stderr.
 */
export class Output {
  readonly json: boolean;
  readonly #stdout: TextStream;
  readonly #stderr: TextStream;
  #status = '';

  constructor(json: boolean, stdout: TextStream, stderr: TextStream) {
    this.json = json;
    this.#stdout = stdout;
    this.#stderr = stderr;
  }

  /** The terminal for the line that redraws, if a person sees one. */
  get statusColumns(): number | undefined {
    return this.#stderr.isTTY === true ? (this.#stderr.columns ?? 80) : undefined;
  }

  /** One line for machines; nothing without `--json`. */
  event(event: string, members: object = {}): void {
    if (this.json) this.#stdout.write(`${JSON.stringify({ event, ...members }, jsonValue)}\n`);
  }

  /** A result for people. */
  result(text: string): void {
    this.#clearStatus();
    (this.json ? this.#stderr : this.#stdout).write(`${text}\n`);
  }

  /** Something that a person should know along the way. */
  note(text: string): void {
    this.#clearStatus();
    this.#stderr.write(`${text}\n`);
  }

  /** Shows a line that the next one replaces. Only on a terminal; empty text takes it away. */
  status(text: string): void {
    if (this.#stderr.isTTY !== true) return;
    if (text === '') this.#clearStatus();
    else this.#stderr.write(`\r${text}\x1b[K`);
    this.#status = text;
  }

  #clearStatus(): void {
    if (this.#status === '') return;
    this.#status = '';
    this.#stderr.write('\r\x1b[K');
  }

  /** The last thing that a failed command says. Gives the exit code that belongs to it. */
  error(error: unknown): number {
    const known = MigrationError.from(error, 'internal');
    this.note(`pageferry: ${oneLine(known.message)}`);
    // A defect of pageferry itself is reported with the place where it happened.
    if (known.code === 'internal' && error instanceof Error) this.note(error.stack ?? '');
    this.event('error', { error: known.toPlain() });
    return exitCodeOf(known);
  }
}

function exitCodeOf(error: MigrationError): number {
  return error.code === 'bad-option' || error.code === 'bad-uri' ? ExitCode.usage : ExitCode.failed;
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ');
}

/** JSON has no bytes: they are written as hexadecimal digits. */
function jsonValue(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
}
