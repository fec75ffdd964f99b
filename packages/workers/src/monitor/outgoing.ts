import { MigrationError } from '@pageferry/core';
import {
  isRunning,
  type LiveParameters,
  type MigrationEvent,
  type MigrationStatus,
} from '@pageferry/core/control';
import type { MigrationSettings } from '@pageferry/core/control/schema';
import type { MigrationInfo, QmpEvent } from '@pageferry/core/qmp';
import { formatUri, type MigrationAddress } from '@pageferry/core/transport';
import type { Migration } from '../engine/coordinator.ts';
import type { Engine, EngineOptions } from '../engine/engine.ts';
import { migrate } from '../migrate.ts';
import type { Machine } from './machine.ts';
import { sourceInfo } from './migration-info.ts';
import type { Release } from './release.ts';
import { addressOf, checkTransport, type Destination } from './transport.ts';

interface Parts {
  readonly machine: Machine;
  readonly settings: MigrationSettings;
  readonly release: Release;
  emit(event: QmpEvent): void;
  log(text: string): void;
  /** Threads that were started before, if there are some. */
  engineFor(options: EngineOptions): Engine | undefined;
}

/** The source's side of a monitor: at most one migration at a time, and what the last one came to. */
export class Outgoing {
  readonly #parts: Parts;
  #migration: Migration | undefined;
  /** The migration has told its first state or its end. */
  #begun = false;
  /** It has waited in `pre-switchover`. */
  #paused = false;
  /** A migration that was refused has left this state, without one behind it. */
  #refused: MigrationInfo | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  get running(): boolean {
    return this.#migration !== undefined && (!this.#begun || isRunning(this.#migration.status));
  }

  /** The state, as QEMU of this release calls it. */
  get status(): MigrationStatus {
    if (this.#refused !== undefined) return 'failed';
    if (this.#migration === undefined) return 'none';
    return this.#told(this.#migration.status);
  }

  /**
   * Starts a migration; resolves when it has begun.
   * @throws MigrationError when it is refused
   */
  async start(destination: Destination): Promise<void> {
    const { machine, settings, release, engineFor } = this.#parts;
    this.#refuse();
    let address: MigrationAddress;
    try {
      address = addressOf(destination);
    } catch (error) {
      if (release.unknownSchemeFails && error instanceof MigrationError && error.code === 'bad-uri') {
        this.#migration = undefined;
        this.#refused = { status: 'failed' };
      }
      throw error;
    }
    if (address.transport === 'fd') {
      // As in QEMU it would be a name that getfd gave; a number is one of this process's own descriptors.
      throw new MigrationError('unsupported', 'fd: needs a descriptor of getfd, which is not supported');
    }
    checkTransport(address, (capability) => settings.isOn(capability));
    // The last one has said how it ended, and is about to let go of the guest.
    await this.#migration?.result.catch(() => {});
    // Not before: what is set while it is waited for is this migration's.
    const options = settings.toMigrateOptions();
    const begun = Promise.withResolvers<void>();
    const migration = migrate(machine.guest!.guest, formatUri(address), {
      ...options,
      engine: engineFor({ ...options, direction: 'outgoing' }),
      onEvent: (event) => {
        if (event.event === 'MIGRATION') {
          this.#begun = true;
          begun.resolve();
        }
        this.#take(event);
      },
    });
    this.#begun = false;
    this.#paused = false;
    this.#refused = undefined;
    this.#migration = migration;
    migration.result.then(
      ({ warnings }) => {
        for (const warning of warnings) this.#parts.log(`migration: ${warning}`);
        begun.resolve();
      },
      (error: MigrationError) => {
        this.#parts.log(`migration: ${error.message}`);
        if (!this.#begun) this.#migration = undefined;
        begun.reject(error);
      },
    );
    await begun.promise;
  }

  /** QMP's migrate_cancel. */
  cancel(): void {
    if (this.running) this.#migration!.cancel();
  }

  /** QMP's migrate-continue. @throws MigrationError `bad-state` */
  async continue(state: string): Promise<void> {
    if (state !== this.status) {
      throw new MigrationError('bad-state', `the migration is in state ${this.status}, not ${state}`);
    }
    if (state === 'pre-switchover') await this.#migration!.continue();
  }

  /** Changes parameters of the migration that runs; without one it does nothing. @throws MigrationError `bad-option` */
  async setParameters(changes: LiveParameters): Promise<void> {
    if (!this.running || Object.keys(changes).length === 0) return;
    try {
      await this.#migration!.setParameters(changes);
    } catch (error) {
      // It has just ended: the parameters are the next one's.
      if (!(error instanceof MigrationError) || error.code !== 'bad-state') throw error;
    }
  }

  /** The answer of query-migrate; undefined when there has been no migration. */
  async info(): Promise<MigrationInfo | undefined> {
    if (this.#refused !== undefined || this.#migration === undefined) return this.#refused;
    const { settings, release } = this.#parts;
    const progress = await this.#migration.query();
    const status = progress.status === 'none' ? 'setup' : this.#told(progress.status);
    return sourceInfo(progress, status, settings, release);
  }

  /** Cancels what runs and waits for its end. */
  async close(): Promise<void> {
    this.cancel();
    await this.#migration?.result.catch(() => {});
  }

  /** QEMU's checks, in its order. @throws MigrationError */
  #refuse(): void {
    const refused = (message: string) => new MigrationError('bad-state', message);
    if (this.running) throw refused('a migration is under way already');
    const { state, guest } = this.#parts.machine;
    if (state === 'inmigrate' || guest === undefined)
      throw refused('the machine waits for a guest itself: it has none to send');
    if (state === 'postmigrate') {
      throw refused('the guest has been migrated away; cont takes it back');
    }
  }

  #told(status: MigrationStatus): MigrationStatus {
    const hidden = status === 'device' && !this.#parts.release.alwaysDevice && !this.#paused;
    return hidden ? 'active' : status;
  }

  #take(event: MigrationEvent): void {
    const { machine, emit } = this.#parts;
    switch (event.event) {
      case 'STOP':
        machine.stoppedForMigration();
        return;
      case 'RESUME':
        void machine.resumedByMigration();
        return;
      case 'MIGRATION':
        this.#enter(event.data.status);
        return;
      default:
        emit(event);
    }
  }

  #enter(status: MigrationStatus): void {
    const { machine, emit } = this.#parts;
    if (status === 'pre-switchover') this.#paused = true;
    if (status === 'pre-switchover' || status === 'device') machine.switchOver();
    const told = this.#told(status);
    if (told === status) emit({ event: 'MIGRATION', data: { status } });
    if (!isRunning(status)) machine.migrationOver(status === 'completed');
  }
}
