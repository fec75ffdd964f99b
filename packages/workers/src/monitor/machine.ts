import { MigrationError } from '@pageferry/core';
import { RunControl } from '@pageferry/core/guest';
import type { QmpEvent, RunState } from '@pageferry/core/qmp';
import type { MonitoredGuest, MonitoredTarget } from './guest.ts';
import type { Release } from './release.ts';

/**
 * The machine of a monitor: which guest it has and in which run state. Commands change it, and so does a migration,
 * which stops the guest for the switch-over and may have to start it again.
 */
export class Machine {
  readonly #release: Release;
  readonly #emit: (event: QmpEvent) => void;
  #state: RunState;
  #guest: MonitoredGuest | undefined;
  /** Whether a guest that arrives is to run at once. */
  #autostart: boolean;
  /** The state before a migration's switch-over. */
  #before: RunState = 'paused';

  private constructor(
    state: RunState,
    guest: MonitoredGuest | undefined,
    autostart: boolean,
    release: Release,
    emit: (event: QmpEvent) => void,
  ) {
    this.#state = state;
    this.#guest = guest;
    this.#autostart = autostart;
    this.#release = release;
    this.#emit = emit;
  }

  /** A machine with a guest, in the state that it has. */
  static withGuest(
    guest: MonitoredGuest,
    state: RunState,
    release: Release,
    emit: (event: QmpEvent) => void,
  ): Machine {
    return new Machine(state, guest, true, release, emit);
  }

  /** A machine that waits for a guest. @param paused whether that is to stand still when it is there */
  static awaitingGuest(paused: boolean, release: Release, emit: (event: QmpEvent) => void): Machine {
    return new Machine('inmigrate', undefined, !paused, release, emit);
  }

  get state(): RunState {
    return this.#state;
  }

  /** Undefined while one is awaited. */
  get guest(): MonitoredGuest | undefined {
    return this.#guest;
  }

  /** 0 for a guest that is held, and while one is awaited. */
  get vcpuCount(): number {
    const words = this.#guest?.guest.memory.runControl;
    return words === undefined ? 0 : new RunControl(words).vcpuCount;
  }

  /** QMP's `stop`. */
  async stop(): Promise<void> {
    if (this.#state === 'inmigrate') this.#autostart = false;
    if (this.#state !== 'running') return;
    // At once: a switch-over that begins meanwhile finds a guest that its owner has stopped.
    this.#state = 'paused';
    await this.#guest!.stop();
    this.#emit({ event: 'STOP' });
  }

  /** QMP's `cont`. @throws MigrationError `bad-state`, or what the guest says */
  async cont(): Promise<void> {
    switch (this.#state) {
      case 'inmigrate':
        this.#autostart = true;
        return;
      case 'running':
        return;
      case 'finish-migrate':
        throw new MigrationError(
          'bad-state',
          'the guest stands still for its switch-over: cont has to wait for the end of the migration',
        );
      case 'postmigrate':
        await this.#guest!.guest.activate();
    }
    await this.#guest!.start();
    this.#state = 'running';
    this.#emit({ event: 'RESUME' });
  }

  /** A migration has stopped the vCPUs. */
  stoppedForMigration(): void {
    // A guest that `stop` is stopping has been announced, or will be.
    if (this.#state === 'running') this.#emit({ event: 'STOP' });
    this.switchOver();
  }

  /** A migration has stopped the guest, or found it stopped, and takes it away. */
  switchOver(): void {
    if (this.#state === 'finish-migrate') return;
    // A guest without vCPUs was not announced.
    if (this.#state === 'running' && !this.#hasVcpus()) this.#emit({ event: 'STOP' });
    this.#before = this.#state;
    this.#state = 'finish-migrate';
  }

  /** A migration has started the guest again. */
  async resumedByMigration(): Promise<void> {
    if (this.#before !== 'running') {
      // `stop` came just when the migration was stopping it.
      this.#state = this.#before;
      return this.#guest?.stop();
    }
    this.#state = 'running';
    this.#emit({ event: 'RESUME' });
  }

  /** A migration is over. @param completed whether the guest is elsewhere now */
  migrationOver(completed: boolean): void {
    if (this.#state !== 'finish-migrate') return;
    if (completed) this.#state = 'postmigrate';
    else if (this.#before !== 'running') {
      this.#state = this.#release.restoresState ? this.#before : 'postmigrate';
    } else if (!this.#hasVcpus()) void this.resumedByMigration();
    // The guest could not be started again: `cont` may try.
    else this.#state = 'postmigrate';
  }

  /** A guest has arrived. Resolves to whether it runs. */
  async arrive(target: MonitoredTarget): Promise<boolean> {
    const { guest, state } = await target.begin(this.#autostart);
    this.#guest = guest;
    this.#state = state;
    return state === 'running';
  }

  async close(): Promise<void> {
    await this.#guest?.close();
  }

  #hasVcpus(): boolean {
    return this.vcpuCount > 0;
  }
}
