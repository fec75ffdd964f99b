import { MessageChannel } from 'node:worker_threads';
import { MigrationError, type PlainMigrationError } from '@pageferry/core';
import { type TransferHandler, transferHandlers } from 'comlink';

/**
 * Comlink carries of an error only message, name and stack. Both ends install this handler, so that a
 * MigrationError arrives as one, with its code and place. Everything else goes as Comlink does it: an
 * application may use Comlink for purposes of its own.
 */
interface Thrown {
  value: unknown;
}

interface CarriedError {
  migrationError: PlainMigrationError;
}

const original = transferHandlers.get('throw') as TransferHandler<Thrown, object>;

const throwHandler: TransferHandler<Thrown, object> = {
  canHandle: original.canHandle,
  serialize(thrown) {
    if (!(thrown.value instanceof MigrationError)) return original.serialize(thrown);
    const carried: CarriedError = { migrationError: thrown.value.toPlain() };
    return [carried, []];
  },
  deserialize(carried) {
    if ('migrationError' in carried) throw MigrationError.fromPlain((carried as CarriedError).migrationError);
    return original.deserialize(carried);
  },
};

/** To be called once in each thread that speaks Comlink. */
export function installErrorTransfer(): void {
  transferHandlers.set('throw', throwHandler);
}

/**
 * The first event that a thread's listener gets from a port makes Node load all of what MessageEvent comes from, which
 * takes 30 ms. A thread that is to be quick later has that behind it after this.
 */
export async function firstMessage(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  const { promise, resolve } = Promise.withResolvers<void>();
  port2.addEventListener('message', () => resolve());
  port2.start();
  port1.postMessage(undefined);
  await promise;
  port1.close();
}
