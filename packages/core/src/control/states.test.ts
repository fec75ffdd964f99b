import assert from 'node:assert/strict';
import test from 'node:test';
import {
  DESTINATION_STATES,
  isRunning,
  type MigrationStatus,
  SOURCE_STATES,
  StateMachine,
  type StateTable,
} from './states.ts';

const TABLES: [string, StateTable][] = [
  ['source', SOURCE_STATES],
  ['destination', DESTINATION_STATES],
];

for (const [side, table] of TABLES) {
  test(`${side}: every state can be reached, and every one ends`, () => {
    const reached = new Set<MigrationStatus>(['none']);
    for (const status of reached) {
      for (const next of Object.keys(table[status]!)) {
        assert.ok(next in table, `${status} to ${next}`);
        reached.add(next as MigrationStatus);
      }
    }
    assert.deepEqual([...reached].sort(), Object.keys(table).sort());
    for (const status of reached) {
      assert.equal(Object.keys(table[status]!).length === 0, !isRunning(status) && status !== 'none', status);
    }
  });
}

test('only what the table allows, told in order', () => {
  const seen: string[] = [];
  const machine = new StateMachine(SOURCE_STATES, (status) => seen.push(status));
  assert.throws(() => machine.enter('active'), { code: 'bad-state', message: /state none.*setup/ });
  for (const status of ['setup', 'active', 'device', 'completed'] as const) machine.enter(status);
  assert.throws(() => machine.enter('cancelling'), { code: 'bad-state', message: /it is over/ });
  assert.throws(() => machine.require('pre-switchover', 'migrate-continue'), {
    code: 'bad-state',
    message: /migrate-continue.*state completed/,
  });
  assert.equal(machine.status, 'completed');
  assert.deepEqual(seen, ['setup', 'active', 'device', 'completed']);
});
