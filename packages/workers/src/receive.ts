import { MigrationError } from '@pageferry/core';
import { type ReceiveOptions, resolveReceiveOptions } from '@pageferry/core/control';
import type { AnnounceParameters, IncomingGuest } from '@pageferry/core/guest';
import { proxy } from 'comlink';
import { Coordinator, type Migration } from './engine/coordinator.ts';
import { coordinatorThread } from './engine/engine.ts';
import type { RunOptions } from './migrate.ts';

/** A destination that waits for a migration or takes one in. */
export interface Reception extends Migration {
  /** The address to migrate to, with the real port, once it can be connected to. Rejects like `result`. */
  readonly listening: Promise<string>;
}

const PROGRESS_INTERVAL_MS = 200;

/**
 * Waits on `uri` for one migration and takes the guest in. Returns at once; `listening` tells when and
 * where a source can connect.
 *
 * On any failure `result` rejects with a MigrationError, the source is told, and nothing of the guest is left.
 *
 * @throws MigrationError `bad-option` for options that cannot be
 */
export function receive(
  uri: string,
  options: ReceiveOptions & RunOptions & { guest: IncomingGuest },
): Reception {
  const {
    guest,
    signal,
    engine,
    onEvent,
    progressIntervalMs = PROGRESS_INTERVAL_MS,
    ...parameters
  } = options;
  const resolved = resolveReceiveOptions(parameters);
  const calls = proxy({
    prepare: guest.prepare.bind(guest),
    readyForSwitchover: async () => guest.readyForSwitchover?.(),
    load: guest.load.bind(guest),
    announce: async (parameters: AnnounceParameters) => guest.announce?.(parameters),
    start: () => guest.start(),
    discard: () => guest.discard(),
  });
  const description = { uuid: guest.uuid, delaysSwitchover: guest.readyForSwitchover !== undefined };
  const listening = Promise.withResolvers<string>();
  listening.promise.catch(() => {});
  const coordinator = new Coordinator(
    coordinatorThread(engine, { ...resolved, direction: 'incoming' }),
    (api, handOver, events) =>
      api.receive(description, calls, uri, resolved, progressIntervalMs, handOver, events),
    {
      role: 'destination',
      signal,
      onEvent,
      listening: listening.resolve,
      orphaned: async () => {
        await guest.discard();
        return false;
      },
    },
  );
  coordinator.result.then(
    () => listening.reject(new MigrationError('internal', 'the migration ended before it listened')),
    (error) => listening.reject(error),
  );
  return Object.assign(coordinator, { listening: listening.promise });
}
