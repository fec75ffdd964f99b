import { MigrationError } from '../error.ts';

/**
 * The states of a migration, QEMU's names: for each side every state, which states may follow it, and what leads
 * there.
 */

export const SOURCE_STATES = {
  none: { setup: 'the migration begins' },
  setup: {
    'wait-unplug': 'a device must leave the guest first',
    active: 'the setup sections are sent',
    cancelling: 'cancel',
    failed: 'no connection, or any other error',
  },
  'wait-unplug': {
    active: 'the device has left',
    cancelling: 'cancel',
    failed: 'any error',
  },
  active: {
    'pre-switchover': 'the guest is stopped, with pause-before-switchover',
    device: 'the guest is stopped',
    completed: 'a background snapshot is written',
    cancelling: 'cancel',
    failed: 'any error',
  },
  'pre-switchover': {
    device: 'migrate-continue',
    cancelling: 'cancel',
    failed: 'any error',
  },
  device: {
    completed: 'the destination has the guest',
    cancelling: 'cancel',
    failed: 'any error',
  },
  cancelling: {
    cancelled: 'everything is closed and the guest runs as before',
    completed: 'the destination had the guest already',
  },
  completed: {},
  failed: {},
  cancelled: {},
} as const;

export const DESTINATION_STATES = {
  none: { setup: 'it listens' },
  setup: {
    active: 'all channels are there',
    cancelled: 'cancel',
    failed: 'any error',
  },
  active: {
    completed: 'the guest is here',
    cancelled: 'cancel',
    failed: 'any error',
  },
  completed: {},
  failed: {},
  cancelled: {},
} as const;

/** The states of a migration. */
export type MigrationStatus = keyof typeof SOURCE_STATES | keyof typeof DESTINATION_STATES;

export type StateTable = Readonly<
  Partial<Record<MigrationStatus, Readonly<Partial<Record<MigrationStatus, string>>>>>
>;

const NOT_RUNNING: ReadonlySet<MigrationStatus> = new Set(['none', 'completed', 'failed', 'cancelled']);

/** Whether a migration in this state is under way, so that a second one is refused. */
export function isRunning(status: MigrationStatus): boolean {
  return !NOT_RUNNING.has(status);
}

/** The state that a migration is in. Nothing but `enter` changes it. */
export class StateMachine {
  #status: MigrationStatus = 'none';
  readonly #table: StateTable;
  readonly #onChange: (status: MigrationStatus) => void;

  /** @param onChange told each new state, after it is entered */
  constructor(table: StateTable, onChange: (status: MigrationStatus) => void) {
    this.#table = table;
    this.#onChange = onChange;
  }

  get status(): MigrationStatus {
    return this.#status;
  }

  /** Whether the table has a way from here to there. */
  mayEnter(next: MigrationStatus): boolean {
    return this.#table[this.#status]?.[next] !== undefined;
  }

  /** @throws MigrationError `bad-state` when the table has no way from here to there */
  enter(next: MigrationStatus): void {
    if (!this.mayEnter(next)) {
      throw new MigrationError('bad-state', `a migration cannot become ${next} now`, {
        found: `state ${this.#status}`,
        expected: Object.keys(this.#table[this.#status] ?? {}).join(' or ') || 'nothing: it is over',
      });
    }
    this.#status = next;
    this.#onChange(next);
  }

  /** @throws MigrationError `bad-state` when it is in another state; `what` names the wish */
  require(expected: MigrationStatus, what: string): void {
    if (this.#status === expected) return;
    throw new MigrationError('bad-state', `${what} is not possible now`, {
      found: `state ${this.#status}`,
      expected,
    });
  }
}
