import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Progress } from '@pageferry/core/control';
import { BuiltinMachine, VcpuThrottle } from '@pageferry/core/guest';
import { type Migration, migrate, receive } from '@pageferry/workers';
import { TestGuest, TestTarget } from '../packages/core/src/testing/test-guests.ts';

/** Throttling of a guest that runs, through the engine. */

const MIB = 2 ** 20;

async function until(migration: Migration, fits: (progress: Progress) => boolean): Promise<Progress> {
  for (;;) {
    const progress = await migration.query();
    assert.ok(['none', 'setup', 'active'].includes(progress.status), progress.status);
    if (fits(progress)) return progress;
    await delay(20);
  }
}

test('steps follow the parameters as they are then, and a guest that stays runs freely', {
  timeout: 60_000,
}, async (t) => {
  const machine = await BuiltinMachine.create({ memoryBytes: 8 * MIB, dirtyRateBytesPerSecond: 100 * MIB });
  t.after(() => machine.close());
  machine.start();
  const vcpus = new VcpuThrottle(machine.memory.throttle!);
  const reception = receive('tcp:127.0.0.1:0', { guest: new TestTarget() });
  const migration = migrate(machine, await reception.listening, {
    maxBandwidthBytesPerSecond: 5_000_000,
    downtimeLimitMs: 1,
    autoConverge: true,
    cpuThrottleInitial: 7,
  });
  await until(migration, ({ cpuThrottlePercentage }) => cpuThrottlePercentage === 7);
  assert.equal(vcpus.percentage, 7);
  await migration.setParameters({ cpuThrottleIncrement: 60, maxCpuThrottle: 50 });
  await until(migration, ({ cpuThrottlePercentage }) => cpuThrottlePercentage === 50);
  assert.equal(vcpus.percentage, 50);
  migration.cancel();
  await assert.rejects(migration.result, { code: 'cancelled' });
  await reception.result.catch(() => {});
  assert.equal(vcpus.percentage, 0);
  assert.equal((await migration.query()).cpuThrottlePercentage, undefined);
  assert.ok(machine.running());
});

test('a guest whose vCPUs cannot be throttled is refused by name, and runs on', async () => {
  const guest = new TestGuest();
  for (const [option, name] of [
    ['autoConverge', /auto-converge/],
    ['dirtyLimit', /dirty-limit/],
  ] as const) {
    const migration = migrate(guest, 'tcp:127.0.0.1:1', { [option]: true });
    await assert.rejects(migration.result, { code: 'bad-option', message: name });
    assert.ok(guest.control.running);
  }
});
