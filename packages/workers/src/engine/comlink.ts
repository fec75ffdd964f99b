import { MigrationError, type PlainMigrationError } from '@pageferry/core';
import { type TransferHandler, transferHandlers } from 'comlink';

/**
 * Comlink carries of an error only message, name and stack. Both ends install this handler, so that a
 * MigrationError arrives as one, with its code and place.
 */
interface Thrown {
  value: unknown;
}

type Carried = { migrationError: PlainMigrationError } | { message: string; stack: string | undefined };

const throwHandler: TransferHandler<Thrown, Carried> = {
  canHandle: transferHandlers.get('throw')!.canHandle as TransferHandler<Thrown, Carried>['canHandle'],
  serialize({ value }) {
    if (value instanceof MigrationError) return [{ migrationError: value.toPlain() }, []];
    if (value instanceof Error) return [{ message: value.message, stack: value.stack }, []];
    return [{ message: String(value), stack: undefined }, []];
  },
  deserialize(carried): never {
    if ('migrationError' in carried) throw MigrationError.fromPlain(carried.migrationError);
    throw Object.assign(new Error(carried.message), { stack: carried.stack });
  },
};

/** To be called once in each thread that speaks Comlink. */
export function installErrorTransfer(): void {
  transferHandlers.set('throw', throwHandler);
}
