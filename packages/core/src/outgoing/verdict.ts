import { MigrationError } from '../error.ts';
import type { ReturnPathReader } from './return-path.ts';

/** How long after a broken connection the destination's own verdict is waited for, ms. */
const VERDICT_GRACE_MS = 250;

/**
 * A broken connection is often only the consequence of what the destination is about to say on the
 * return path, so that gets a moment.
 *
 * @returns the error that tells most, or undefined when the destination says that it has the guest
 */
export async function explain(
  error: MigrationError,
  returnPath: ReturnPathReader | undefined,
): Promise<MigrationError | undefined> {
  if (error.code !== 'connection-lost' || returnPath === undefined) return error;
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(resolve, VERDICT_GRACE_MS, undefined);
  try {
    const verdict = await Promise.race([returnPath.verdict.then(() => 'success'), promise]);
    return verdict === 'success' ? undefined : withoutVerdict(error, returnPath);
  } catch (verdict) {
    const said = verdict instanceof MigrationError && verdict.code === 'destination-failed';
    return said ? verdict : withoutVerdict(error, returnPath);
  } finally {
    clearTimeout(timer);
  }
}

/** With everything sent, a connection that breaks is a destination that could not take the guest. */
function withoutVerdict(error: MigrationError, returnPath: ReturnPathReader): MigrationError {
  if (!returnPath.allSent) return error;
  const { channel, offset, found } = error;
  return new MigrationError('destination-failed', 'the destination went away before it reported success', {
    channel,
    offset,
    found,
    cause: error,
  });
}
