import type { Readable } from 'node:stream';
import type { MigrationEvent } from '@pageferry/core/control';
import type { Migration } from '@pageferry/workers';
import type { Output } from './output.ts';

/**
 * The word to go on for a migration that waits in `pre-switchover`: a line on standard input. Without anybody who
 * could say it (the input ends) the migration is cancelled, since it would wait for ever.
 */
export class GoOn {
  readonly #output: Output;
  readonly #input: Readable;
  #asked = false;

  constructor(output: Output, input: Readable = process.stdin) {
    this.#output = output;
    this.#input = input;
  }

  /** To be told every event of the migration. */
  take(event: MigrationEvent, migration: Pick<Migration, 'continue' | 'cancel'>): void {
    if (event.event !== 'MIGRATION' || event.data.status !== 'pre-switchover') return;
    this.#output.event('pre-switchover');
    this.#output.note('paused before the switch-over: a line on standard input (Enter) goes on');
    this.#asked = true;
    this.#input.on('data', (chunk: Buffer) => {
      // The migration may just have ended: its result says how.
      if (chunk.includes('\n')) migration.continue().catch(() => {});
    });
    const ended = () => {
      this.#output.note('standard input has ended: nobody can say when to go on');
      migration.cancel();
    };
    this.#input.once('end', ended).once('error', ended);
  }

  /** The migration is over: lets the input go, so that the process can end. */
  close(): void {
    if (this.#asked) this.#input.destroy();
  }
}
