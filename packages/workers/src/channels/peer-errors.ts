import { MigrationError } from '@pageferry/core';

/**
 * A destination that has the guest closes its channels too, and then says so at once on the return path; one
 * that closed them this long ago has failed.
 */
export const PEER_END_GRACE_MS = 5000;

/** @param offset bytes of the channel that were handed over */
export function givenUp(channel: string, offset: number): MigrationError {
  return new MigrationError('destination-failed', 'the destination closed the channel and did not finish', {
    channel,
    offset,
  });
}

export function lostConnection(cause: Error, channel: string, offset: number): MigrationError {
  return new MigrationError('connection-lost', 'the destination no longer takes bytes', {
    channel,
    offset,
    found: cause.message,
    cause,
  });
}
