import type { SourceControl, SourceStream } from './parts.ts';

/** A destination hears a PING this often: it may be watching for a stall. */
const ALIVE_INTERVAL_MS = 5000;
/** Its PONG is awaited by nobody. */
const ALIVE_PING = 0;

/**
 * Waits for something that is not the peer's, between two sections: for the guest, or for a word from outside. Meanwhile
 * nothing is owed, and a destination that can answer is kept patient. Rejects with the migration's first error.
 */
export async function waitPatiently(
  { watch, stopped, signal }: SourceControl,
  { returnPath, stream }: Pick<SourceStream, 'returnPath' | 'stream'>,
  done: Promise<void>,
): Promise<void> {
  const alive = setInterval(() => returnPath && stream.ping(ALIVE_PING), ALIVE_INTERVAL_MS);
  try {
    await watch.pausedDuring(Promise.race([done, stopped]));
    signal.throwIfAborted();
  } finally {
    clearInterval(alive);
  }
}
