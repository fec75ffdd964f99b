import { type MigrateOptions, type MigrationEvent, resolveMigrateOptions } from '@pageferry/core/control';
import { beginMoving, type Guest } from '@pageferry/core/guest';
import { Coordinator, type Migration } from './engine/coordinator.ts';
import { coordinatorThread, type Engine } from './engine/engine.ts';
import { SourceGuest } from './engine/source-guest.ts';

export interface RunOptions {
  /** Cancels the migration when aborted. */
  signal?: AbortSignal;
  /** How often `progress` gets a report, ms. */
  progressIntervalMs?: number;
  /** Told each event, in order and none left out. Called on the thread that called `migrate` or `receive`. */
  onEvent?: (event: MigrationEvent) => void;
  /** Threads that were started before; see `prepareEngine`. */
  engine?: Engine | undefined;
}

const PROGRESS_INTERVAL_MS = 200;

/**
 * Migrates a guest to `uri` (`tcp:host:port`, `unix:path`, `file:path`, `exec:command`, `fd:n`), where a
 * QEMU started with `-incoming` or a pageferry waits. Returns at once.
 *
 * The guest runs on while its pages move, stops for the switch-over, and runs at the destination after it.
 * On any failure `result` rejects with a MigrationError and the guest runs here as before.
 *
 * @throws MigrationError `bad-option` for options that cannot be; `bad-state` while the guest is being migrated;
 * `blocked` when it has a migration blocker
 */
export function migrate(guest: Guest, uri: string, options: MigrateOptions & RunOptions = {}): Migration {
  const calledAtMs = performance.timeOrigin + performance.now();
  const { signal, engine, onEvent, progressIntervalMs = PROGRESS_INTERVAL_MS, ...parameters } = options;
  const resolved = resolveMigrateOptions(parameters);
  const moved = beginMoving(guest);
  try {
    const thread = coordinatorThread(engine, { ...resolved, direction: 'outgoing' });
    const source = new SourceGuest(guest, resolved);
    const { description, calls } = source;
    const migration = new Coordinator(
      thread,
      (api, handOver, events) =>
        api.migrate(description, calls, uri, resolved, calledAtMs, progressIntervalMs, handOver, events),
      { role: 'source', signal, onEvent, orphaned: (handOver) => source.rescue(handOver) },
    );
    migration.result.then(moved, moved);
    return migration;
  } catch (error) {
    moved();
    throw error;
  }
}
