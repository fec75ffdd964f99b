import { MigrationError } from '@pageferry/core';
import type { MigrationSettings } from '@pageferry/core/control/schema';
import {
  type MigrationInfo,
  type QmpCommand,
  type QmpCommands,
  QmpError,
  type QmpEvent,
  type QmpVersion,
  type RunState,
} from '@pageferry/core/qmp';
import { formatUuid } from '@pageferry/core/wire';
import type { EngineOptions } from '../engine/engine.ts';
import { monitorCommands } from './commands/index.ts';
import { DirtyRates } from './dirty-rate.ts';
import type { MonitoredGuest, MonitoredTarget } from './guest.ts';
import { Incoming } from './incoming.ts';
import { Machine } from './machine.ts';
import { Outgoing } from './outgoing.ts';
import { type Release, releaseOf } from './release.ts';
import { WarmEngine } from './warm-engine.ts';

export interface MonitorOptions {
  /** The machine's parameters and capabilities; their version is the QEMU release that is spoken. */
  readonly settings: MigrationSettings;
  /** The guest and its state, or what waits for one. */
  readonly machine:
    | { readonly guest: MonitoredGuest; readonly state: RunState }
    | { readonly target: MonitoredTarget; readonly paused: boolean };
  /** For the greeting and query-version. */
  readonly package: string;
  readonly name?: string | undefined;
  /** The machine's UUID, 16 bytes; by default the guest's. */
  readonly uuid?: Uint8Array | undefined;
  /** Told each event, in order. */
  readonly onEvent: (event: QmpEvent) => void;
  readonly log?: (text: string) => void;
}

/** Why a monitor ended. */
export type MonitorEnd =
  | { readonly reason: 'host-qmp-quit' | 'host-signal' }
  | { readonly error: MigrationError };

/** A machine under QMP: its run state, its settings, the migration that is under way, commands and events. */
export class Monitor {
  readonly settings: MigrationSettings;
  readonly release: Release;
  readonly machine: Machine;
  readonly outgoing: Outgoing;
  /** Absent when the machine had its guest from the start. */
  readonly incoming: Incoming | undefined;
  readonly dirtyRates: DirtyRates;
  readonly commands: ReadonlyMap<string, QmpCommand>;
  /** Resolves when the machine is to end: by `quit`, by `end`, or because its guest did not arrive. */
  readonly ended: Promise<MonitorEnd>;
  readonly #options: MonitorOptions;
  readonly #end = Promise.withResolvers<MonitorEnd>();
  readonly #warm = new WarmEngine();
  #ended = false;

  constructor(options: MonitorOptions) {
    this.#options = options;
    const { settings, machine, log = () => {} } = options;
    this.settings = settings;
    this.release = releaseOf(settings.version);
    this.ended = this.#end.promise;
    const emit = (event: QmpEvent) => this.#emit(event);
    const emitAlways = options.onEvent;
    this.machine =
      'guest' in machine
        ? Machine.withGuest(machine.guest, machine.state, this.release, emit)
        : Machine.awaitingGuest(machine.paused, this.release, emit);
    const engineFor = (wanted: EngineOptions) => this.#warm.take(wanted);
    const parts = {
      machine: this.machine,
      settings,
      release: this.release,
      emit,
      emitAlways,
      log,
      engineFor,
    };
    this.outgoing = new Outgoing(parts);
    this.dirtyRates = new DirtyRates(this.machine, this.release, log);
    if ('target' in machine) {
      const failed = (error: MigrationError) => this.#end.resolve({ error });
      this.incoming = new Incoming({ ...parts, target: machine.target, failed });
    }
    this.commands = monitorCommands(this);
    this.warmUp();
  }

  /** Has threads ready for the migration that comes next, as far as the settings tell. */
  warmUp(): void {
    const { settings, machine, incoming } = this;
    if (this.outgoing.running) return;
    try {
      if (machine.guest !== undefined)
        this.#warm.expect({ ...settings.toMigrateOptions(), direction: 'outgoing' });
      else if (incoming?.started === false)
        this.#warm.expect({ ...settings.toReceiveOptions(), direction: 'incoming' });
    } catch (error) {
      // Settings that cannot be used are told when somebody wants to.
      if (!(error instanceof MigrationError)) throw error;
    }
  }

  /** For greeting and query-version. */
  get version(): QmpVersion {
    const [major, minor] = this.release.version.split('.').map(Number);
    return { qemu: { micro: 0, minor: minor!, major: major! }, package: this.#options.package };
  }

  get name(): string | undefined {
    return this.#options.name;
  }

  /** As text; zeros when the machine has none. */
  get uuid(): string {
    return formatUuid(this.#options.uuid ?? this.machine.guest?.guest.uuid ?? new Uint8Array(16));
  }

  /** Runs a command as a client would. @throws QmpError */
  async execute<C extends keyof QmpCommands>(
    command: C,
    args: QmpCommands[C]['arguments'],
  ): Promise<QmpCommands[C]['return']> {
    const known = this.commands.get(command);
    if (known === undefined) {
      throw new QmpError(`there is no command ${command}`, 'CommandNotFound');
    }
    return (await known.run(args)) as QmpCommands[C]['return'];
  }

  /** The answer of query-migrate: the source's side, once there has been a migration. */
  async migrationInfo(): Promise<MigrationInfo> {
    const info = (await this.outgoing.info()) ?? (await this.incoming?.info()) ?? {};
    const blockers = this.machine.guest?.guest.blockers?.() ?? [];
    if (blockers.length > 0 && this.release.blockedReasons) info['blocked-reasons'] = blockers;
    return info;
  }

  /** Ends the machine; the first reason stays. */
  end(reason: 'host-qmp-quit' | 'host-signal'): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#end.resolve({ reason });
    const data = { guest: false, reason };
    this.#options.onEvent({ event: 'SHUTDOWN', data });
  }

  /** Cancels what is under way, and lets go of the guest. */
  async close(): Promise<void> {
    await Promise.all([this.outgoing.close(), this.incoming?.close(), this.#warm.close()]);
    this.dirtyRates.close();
    await this.machine.close();
  }

  #emit(event: QmpEvent): void {
    const ofMigration = event.event === 'MIGRATION' || event.event === 'MIGRATION_PASS';
    if (!ofMigration || this.settings.isOn('events')) this.#options.onEvent(event);
  }
}
