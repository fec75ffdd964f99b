import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { VcpuThrottle } from '../vcpu-throttle.ts';
import { BuiltinMachine } from './machine.ts';

const MIB = 2 ** 20;
const RATE = 20 * MIB;

/** What the machine really writes, as a share of what it is set to. */
async function writtenShare(machine: BuiltinMachine, forMs: number): Promise<number> {
  // What was due before is over.
  await delay(150);
  const before = { writes: machine.writes, ms: performance.now() };
  await delay(forMs);
  const seconds = (performance.now() - before.ms) / 1000;
  return ((machine.writes - before.writes) * 4096) / seconds / RATE;
}

test('the vCPUs of a machine stand still as told', { timeout: 60_000 }, async () => {
  const machine = await BuiltinMachine.create({
    memoryBytes: 64 * MIB,
    vcpus: 2,
    dirtyRateBytesPerSecond: RATE,
  });
  try {
    const throttle = new VcpuThrottle(machine.memory.throttle!);
    assert.equal(throttle.vcpuCount, 2);
    machine.start();
    const free = await writtenShare(machine, 600);
    throttle.percentage = 90;
    const throttled = await writtenShare(machine, 1500);
    throttle.percentage = 0;
    const again = await writtenShare(machine, 600);
    // A loaded host writes less, never more.
    assert.ok(free < 1.1, `free: ${free}`);
    assert.ok(throttled > 0 && throttled < 0.13, `throttled by 90 %: ${throttled}`);
    assert.ok(again > 2 * throttled, `free again: ${again}, throttled ${throttled}`);

    throttle.limitDirtyRate(2);
    // The first round was begun without the limit.
    await delay(2000);
    const limited = await writtenShare(machine, 4000);
    assert.ok(limited > 0 && limited < 0.25, `2 vCPUs of 2 MiB/s each: ${limited} of 20 MiB/s`);
    for (const { limitRate, currentRate } of throttle.dirtyLimits()) {
      assert.equal(limitRate, 2);
      assert.ok(currentRate <= 4, `${currentRate} MiB/s`);
    }
    throttle.percentage = 99;
    await delay(50);
    const stopAt = performance.now();
    await machine.stop();
    assert.ok(performance.now() - stopAt < 500, 'a vCPU that stands still stops at once');
    assert.equal((await machine.check()).ok, true);
  } finally {
    await machine.close();
  }
});
