import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Collects this thread's garbage now. Preparing leaves the heap close to where V8 begins to mark it, which else
 * happens in the migration's first half second and takes a processor from the channels.
 */
export function collectGarbage(): void {
  // Node has no call for it; the flag shows `gc` to contexts that are made while it is set. It is the process's, and
  // cached code counts as another V8's meanwhile. Two threads at once may miss it: nothing depends on it.
  setFlagsFromString('--expose-gc');
  try {
    const gc = runInNewContext('globalThis.gc') as (() => void) | undefined;
    gc?.();
  } finally {
    setFlagsFromString('--no-expose-gc');
  }
}
