import { ERROR_CODES, MigrationError, type PlainMigrationError } from '@pageferry/core';

/**
 * The error of a Piscina task. A task's own errors arrive as the plain form of a MigrationError; anything else is a
 * thread that died.
 *
 * @param what which thread, for an error that does not say: `thread of a channel`
 */
export function taskError(
  error: unknown,
  { what = 'thread of a channel', channel }: { what?: string; channel?: string | undefined } = {},
): MigrationError {
  if (error instanceof MigrationError) return error;
  if (isPlain(error)) return MigrationError.fromPlain(error);
  const found = error instanceof Error ? error.message : String(error);
  return new MigrationError('worker-failed', `a ${what} died`, { cause: error, channel, found });
}

function isPlain(error: unknown): error is PlainMigrationError {
  if (typeof error !== 'object' || error === null || error instanceof Error) return false;
  return 'code' in error && typeof error.code === 'string' && error.code in ERROR_CODES;
}
