import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * A terminal sends Ctrl-C to the whole process group, and a launcher in the same group (npx, a shell script)
 * often sends it once more: what follows this soon is the same Ctrl-C.
 */
const SAME_SIGNAL_MS = 300;

/**
 * Ctrl-C and its relatives: the first one cancels what runs, the second one ends the process at once.
 */
export class Interrupt {
  readonly #controller = new AbortController();
  readonly #onSecond: (exitCode: number) => void;
  #exitCode: number | undefined;
  #firstAtMs = 0;

  /** @param onSecond ends the process */
  constructor(onSecond: (exitCode: number) => void) {
    this.#onSecond = onSecond;
  }

  /** Aborts with the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The exit code that the first signal stands for; undefined when none came. */
  get exitCode(): number | undefined {
    return this.#exitCode;
  }

  /** Takes a signal. */
  deliver(signal: (typeof SIGNALS)[number], nowMs = performance.now()): void {
    const exitCode = 128 + constants.signals[signal];
    if (this.#exitCode === undefined) {
      this.#exitCode = exitCode;
      this.#firstAtMs = nowMs;
      this.#controller.abort();
    } else if (nowMs - this.#firstAtMs >= SAME_SIGNAL_MS) {
      this.#onSecond(exitCode);
    }
  }

  /** Listens to this process's signals, and to the end of the launcher that started it, if one did. */
  listen(): void {
    for (const signal of SIGNALS) process.on(signal, () => this.deliver(signal));
    if (process.env.PAGEFERRY_LAUNCHER === undefined) return;
    delete process.env.PAGEFERRY_LAUNCHER;
    process.on('disconnect', () => this.deliver('SIGHUP'));
    process.channel?.unref();
  }
}
