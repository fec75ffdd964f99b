import { MigrationError } from '../error.ts';

/** The code of a system error, such as `ECONNREFUSED`; otherwise its message. */
export function errnoOf(error: unknown): string {
  if (error instanceof Error)
    return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
  return String(error);
}

/** What an aborted signal means: the reason if it is one of ours, otherwise that the caller cancelled. */
export function cancellation(signal: AbortSignal): MigrationError {
  const { reason } = signal;
  if (reason instanceof MigrationError) return reason;
  return new MigrationError('cancelled', 'cancelled by the caller', { cause: reason });
}

export interface Limit<T> {
  readonly signal?: AbortSignal | undefined;
  readonly time?: {
    readonly limitMs: number;
    /** Makes the error. */
    readonly onTimeout: () => Error;
  };
  /** Gets the result when it comes too late: to close what nobody waits for any more. */
  readonly onLate?: (value: T) => void;
}

/** The result of `work`, or a rejection when the time is up or the signal aborted, whichever is first. */
export function within<T>(work: Promise<T>, limit: Limit<T>): Promise<T> {
  const { signal, time } = limit;
  return new Promise<T>((resolve, reject) => {
    let open = true;
    const finish = (): void => {
      open = false;
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const onAbort = (): void => {
      finish();
      reject(cancellation(signal!));
    };
    let timer: NodeJS.Timeout | undefined;
    if (time !== undefined) {
      timer = setTimeout(() => {
        finish();
        reject(time.onTimeout());
      }, time.limitMs);
    }
    work.then(
      (value) => {
        if (!open) {
          limit.onLate?.(value);
          return;
        }
        finish();
        resolve(value);
      },
      (error: unknown) => {
        if (!open) return;
        finish();
        reject(error);
      },
    );
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort);
  });
}
