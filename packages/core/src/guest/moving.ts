import { MigrationError } from '../error.ts';
import type { Guest } from './contract.ts';

/** The guests of this thread that are on their way. */
const moving = new WeakSet<object>();

/** Whether a migration of this guest is under way. */
export function isMoving(guest: object): boolean {
  return moving.has(guest);
}

/**
 * Marks the beginning of a migration.
 *
 * @returns marks its end
 * @throws MigrationError `bad-state` when one is under way: there is one dirty log and one set of vCPUs;
 * `blocked` when the guest has a migration blocker
 */
export function beginMoving(guest: Guest): () => void {
  // A guest that never changes can be sent to as many places as one likes.
  const isStill = guest.memory.dirtyLog.kind === 'none' && guest.memory.runControl === undefined;
  if (!isStill && isMoving(guest)) {
    throw new MigrationError('bad-state', 'a migration of this guest is under way');
  }
  const [newest] = guest.blockers?.() ?? [];
  if (newest !== undefined) throw new MigrationError('blocked', newest);
  moving.add(guest);
  return () => moving.delete(guest);
}
