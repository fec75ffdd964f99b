import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { resolveMigrateOptions } from '@pageferry/core/control';
import { BuiltinMachine, WriteTracker } from '@pageferry/core/guest';
import { HandOver } from './hand-over.ts';
import { SourceGuest } from './source-guest.ts';

test('a machine whose snapshot died with its thread writes on', async (t) => {
  const machine = await BuiltinMachine.create({
    memoryBytes: 16 * 2 ** 20,
    dirtyRateBytesPerSecond: 200 * 2 ** 20,
  });
  t.after(() => machine.close());
  const { writeTracking, blocks } = machine.memory;
  new WriteTracker(writeTracking!, blocks).begin();
  machine.start();
  // Nobody takes the copies that it makes: it stands still when all slots are full.
  for (let seen = -1; seen !== machine.writes; await delay(300)) seen = machine.writes;
  const { writes } = machine;
  assert.equal(await new SourceGuest(machine, resolveMigrateOptions()).rescue(new HandOver()), false);
  for (const deadline = Date.now() + 10_000; machine.writes < writes + 5000; await delay(5))
    assert.ok(Date.now() < deadline, 'the machine does not write');
  assert.deepEqual((await machine.check()).problems, []);
});
