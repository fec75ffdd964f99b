import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { MigrateOptions, MigrationEvent, Progress } from '@pageferry/core/control';
import type { QmpTimedEvent } from '@pageferry/core/qmp';
import { migrate, receive } from '@pageferry/workers';
import { TestGuest, TestTarget } from '../packages/core/src/testing/test-guests.ts';
import { readTranscript } from './lib/fixtures.ts';

/** A migration tells the same events in the same order as the recorded QEMUs did. */

/** The events of one side from its `setup` on; STOP and RESUME that a command caused come before. */
function recorded(path: string, side: 'src' | 'dst'): string[] {
  const events = readTranscript(path)
    .flatMap((entry) => (entry.side === side && entry.event !== undefined ? [entry.event] : []))
    .filter(({ event }) => event !== 'SHUTDOWN')
    .sort((one, other) => at(one) - at(other));
  const words = events.map(({ event, data }) => word(event, data?.status as string | undefined));
  return withoutMiddlePasses(words.slice(words.indexOf('setup')));
}

const at = ({ timestamp }: QmpTimedEvent) => timestamp.seconds * 1e6 + timestamp.microseconds;

function word(event: string, status: string | undefined): string {
  return event === 'MIGRATION' ? status! : event;
}

function told(events: readonly MigrationEvent[]): string[] {
  return withoutMiddlePasses(
    events.map((event) => word(event.event, event.event === 'MIGRATION' ? event.data.status : undefined)),
  );
}

/** How often the dirty log is read while the guest runs differs from run to run; the first and the last time count. */
function withoutMiddlePasses(words: readonly string[]): string[] {
  const [first, last] = [words.indexOf('MIGRATION_PASS'), words.lastIndexOf('MIGRATION_PASS')];
  return words.filter((one, i) => one !== 'MIGRATION_PASS' || i === first || i === last);
}

interface Case {
  readonly name: string;
  readonly options?: MigrateOptions;
  /** The guest stood still before. */
  readonly stopped?: boolean;
  /** What is done while it runs. */
  during?(migration: ReturnType<typeof migrate>): Promise<void>;
}

async function until(migration: { query(): Promise<Progress> }, status: string): Promise<void> {
  while ((await migration.query()).status !== status) await delay(2);
}

const CASES: readonly Case[] = [
  { name: 'precopy', options: { returnPath: false } },
  { name: 'precopy-iterations', options: { returnPath: false } },
  { name: 'return-path' },
  { name: 'stop-and-copy', options: { returnPath: false }, stopped: true },
  { name: 'multifd-paused', options: { multifd: true, returnPath: false }, stopped: true },
  {
    name: 'pause-before-switchover',
    options: { pauseBeforeSwitchover: true },
    async during(migration) {
      await until(migration, 'pre-switchover');
      await migration.continue();
    },
  },
  {
    name: 'cancelled',
    options: { maxBandwidthBytesPerSecond: 50_000, zeroPageDetection: 'none' },
    async during(migration) {
      await until(migration, 'active');
      migration.cancel();
    },
  },
];

for (const { name, options, stopped, during } of CASES) {
  test(`${name}: the events are those of QEMU 10.0 and, but for device, 7.2`, async () => {
    const guest = new TestGuest();
    if (stopped) await guest.control.stop();
    const here: MigrationEvent[] = [];
    const there: MigrationEvent[] = [];
    const { multifd } = options ?? {};
    const reception = receive('tcp:127.0.0.1:0', {
      guest: new TestTarget(),
      multifd,
      onEvent: (event) => there.push(event),
    });
    const migration = migrate(guest, await reception.listening, {
      ...options,
      onEvent: (event) => here.push(event),
    });
    await during?.(migration);
    await Promise.allSettled([migration.result, reception.result]);

    const source = told(here);
    assert.deepEqual(source, recorded(`10.0/${name}`, 'src'));
    // Before 10.0 only a migration that was paused has this state.
    const paused = source.includes('pre-switchover');
    const before10 = source.filter((status) => status !== 'device' || paused);
    assert.deepEqual(before10, recorded(`7.2/${name}`, 'src'));

    // The recorded destinations were told to stand still.
    const destination = told(there).filter((event) => event !== 'RESUME');
    for (const version of ['7.2', '10.0']) {
      assert.deepEqual(destination, recorded(`${version}/${name}`, 'dst'));
    }
  });
}
