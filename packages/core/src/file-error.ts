import { MigrationError } from './error.ts';

/**
 * A `file-failed` error that names the path, what was tried, and the system's reason; an error that is not the
 * system's is a defect (`internal`).
 */
export function fileError(error: unknown, path: string, doing: string): MigrationError {
  if (error instanceof MigrationError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  const bySystem = error instanceof Error && 'syscall' in error;
  return new MigrationError(bySystem ? 'file-failed' : 'internal', `cannot ${doing}: ${reason}`, {
    channel: path,
    phase: 'file',
    retryable: false,
    cause: error,
  });
}

/** Throws `cancelled` when the caller gave up. */
export function checkCancelled(signal: AbortSignal | undefined, path: string): void {
  if (signal?.aborted !== true) return;
  throw new MigrationError('cancelled', 'cancelled by the caller', {
    channel: path,
    phase: 'file',
    cause: signal.reason,
  });
}
