import { type ChildProcess, fork } from 'node:child_process';
import { MigrationError, workerEntry } from '@pageferry/core';
import type { DestinationMessage, DestinationOrder, DestinationReport } from './destination.ts';

/** The destination's process, seen from the source's. */
export class DestinationProcess {
  readonly #child: ChildProcess;
  readonly #listening = Promise.withResolvers<string>();
  readonly #report = Promise.withResolvers<DestinationReport>();
  readonly #exited: Promise<void>;
  readonly #kill = () => this.#child.kill('SIGKILL');

  constructor(order: DestinationOrder) {
    // Its stderr is this one's: whatever kills it may leave a word there.
    this.#child = fork(workerEntry(import.meta.url, './destination'), {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const { promise: exited, resolve } = Promise.withResolvers<void>();
    this.#exited = exited;
    this.#child.on('error', (error) => {
      this.#fail(new MigrationError('destination-failed', `its process cannot be started: ${error.message}`));
      resolve();
    });
    this.#child.on('exit', (code, signal) => {
      this.#fail(
        new MigrationError('destination-failed', `its process ended with ${signal ?? `exit code ${code}`}`),
      );
      resolve();
    });
    this.#child.on('message', (message: DestinationMessage) => this.#take(message));
    // Whoever waits for one of these may have stopped to wait, because of another failure.
    this.#listening.promise.catch(() => {});
    this.#report.promise.catch(() => {});
    process.once('exit', this.#kill);
    this.#child.send(order);
  }

  /** Where to migrate to. */
  get listening(): Promise<string> {
    return this.#listening.promise;
  }

  /** Rejects with what went wrong there. */
  get report(): Promise<DestinationReport> {
    return this.#report.promise;
  }

  /** Ends the process, whatever it does. */
  async stop(): Promise<void> {
    this.#kill();
    await this.#exited;
    process.off('exit', this.#kill);
  }

  #take(message: DestinationMessage): void {
    if (message.type === 'listening') this.#listening.resolve(message.address);
    else if (message.type === 'report') this.#report.resolve(message.report);
    else this.#fail(MigrationError.fromPlain(message.error));
  }

  #fail(error: MigrationError): void {
    this.#listening.reject(error);
    this.#report.reject(error);
  }
}
