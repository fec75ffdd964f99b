import { MigrationError } from '../error.ts';
import type { SourceLink } from './link.ts';
import type { ReturnPathReader } from './return-path.ts';

/** How long after a broken connection the destination's own verdict is waited for, ms. */
const LOST_GRACE_MS = 250;
/** The same after a cancel. */
const CANCEL_GRACE_MS = 500;

/**
 * What the end of a migration really means, which the destination may still have to say.
 *
 * A broken connection is often only the consequence of what it is about to say. And a cancel that comes when everything
 * is sent finds it perhaps just taking the guest over: it is told that nothing more comes, and either gives up then, or
 * has said before that it has the guest. What has not left yet when the cancel comes is not sent any more: the destination
 * cannot take over a guest of which the end is missing.
 *
 * @returns the error that tells most, or undefined when the destination says that it has the guest
 */
export async function explain(
  error: MigrationError,
  link: SourceLink | undefined,
): Promise<MigrationError | undefined> {
  const returnPath = link?.returnPath;
  const lost = error.code === 'connection-lost';
  if (returnPath === undefined || !(lost || returnPath.allSent)) return error;
  const cancelled = error.code === 'cancelled';
  if (cancelled) {
    if (!(await hasLeft(link))) return error;
    link?.channel?.close().catch(() => {});
  }
  // Of any other error the destination is not asked, but it may have spoken just now.
  const graceMs = lost ? LOST_GRACE_MS : cancelled ? CANCEL_GRACE_MS : 0;
  const verdict = await within(graceMs, returnPath.verdict);
  if (verdict === 'success') return undefined;
  if (!lost) return error;
  const said = verdict instanceof MigrationError && verdict.code === 'destination-failed';
  return said ? verdict : withoutVerdict(error, returnPath);
}

/** Whether everything that was written is with the kernel. */
async function hasLeft(link: SourceLink | undefined): Promise<boolean> {
  const flushed = Promise.all([link?.channel?.flushed(), link?.sender?.flushed()]);
  return (await within(0, flushed)) === 'success';
}

/** What the destination says, if it says anything. */
async function within(limitMs: number, verdict: Promise<unknown>): Promise<unknown> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(resolve, limitMs, undefined);
  const said = verdict.then(
    () => 'success',
    (error: unknown) => error,
  );
  try {
    return await Promise.race([said, late]);
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
