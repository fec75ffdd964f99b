import type { Output } from './output.ts';

/** What a command works with. */
export interface Context {
  readonly output: Output;
  /** Aborts when the person at the terminal has had enough. */
  readonly signal: AbortSignal;
  /** pageferry's own. */
  readonly version: string;
}
