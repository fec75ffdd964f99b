import assert from 'node:assert/strict';
import test from 'node:test';
import { type MigrateOptions, resolveMigrateOptions } from '../control/options.ts';
import { VcpuThrottle } from '../guest/vcpu-throttle.ts';
import { DirtyBitmap } from '../memory/dirty-bitmap.ts';
import { GuestThrottle } from './guest-throttle.ts';
import { SyncPeriods } from './sync-period.ts';

function setUp(options: MigrateOptions) {
  const live = { ...resolveMigrateOptions(options) };
  const vcpus = VcpuThrottle.create(2);
  const bitmaps = [new DirtyBitmap(8).buffer];
  const memory = {
    blocks: [],
    dirtyLog: { kind: 'write-barrier', bitmaps },
    throttle: vcpus.buffer,
  } as const;
  return { live, vcpus, throttle: new GuestThrottle(live, memory) };
}

const SENT = 1000 * 4096;
const bad = { dirtiedPages: 900, sentBytes: SENT };
const good = { dirtiedPages: 500, sentBytes: SENT };

test('auto-converge takes a step after each two bad periods, up to its limit', () => {
  const { vcpus, throttle } = setUp({ autoConverge: true, maxCpuThrottle: 55 });
  const seen: number[] = [];
  for (let i = 0; i < 12; i++) {
    throttle.periodEnded(bad);
    // Half of what was sent may be dirtied; and a good period between two bad ones changes nothing.
    throttle.periodEnded(good);
    seen.push(vcpus.percentage);
  }
  assert.deepEqual(seen, [0, 20, 20, 30, 30, 40, 40, 50, 50, 55, 55, 55]);
  assert.deepEqual(throttle.progress(), { cpuThrottlePercentage: 55 });
  throttle.release();
  assert.equal(vcpus.percentage, 0);
  assert.deepEqual(throttle.progress(), {});
});

test('its parameters may change while it runs', () => {
  const { live, vcpus, throttle } = setUp({ autoConverge: true });
  const step = () => {
    throttle.periodEnded(bad);
    throttle.periodEnded(bad);
    return vcpus.percentage;
  };
  live.cpuThrottleInitial = 5;
  assert.equal(step(), 5);
  live.cpuThrottleIncrement = 40;
  assert.equal(step(), 45);
  live.throttleTriggerThreshold = 95;
  assert.equal(step(), 45);
  live.throttleTriggerThreshold = 80;
  live.cpuThrottleTailslow = true;
  // 80 of 90: of the 55 percent that it runs, 48 would do.
  assert.equal(step(), 52);
});

test('dirty-limit limits every vCPU, to what the limit is then', () => {
  const { live, vcpus, throttle } = setUp({ dirtyLimit: true, vcpuDirtyLimitMiBPerSecond: 30 });
  throttle.periodEnded(bad);
  assert.deepEqual(vcpus.dirtyLimits(), []);
  assert.deepEqual(throttle.progress(), {});
  live.vcpuDirtyLimitPeriodMs = 200;
  throttle.periodEnded(bad);
  assert.deepEqual(
    vcpus.dirtyLimits().map(({ limitRate }) => limitRate),
    [30, 30],
  );
  assert.equal(vcpus.periodMs, 200);
  vcpus.setDirtyRate(0, 10);
  vcpus.setDirtyRate(1, 30);
  vcpus.setThrottledUs(1, 777);
  assert.deepEqual(throttle.progress(), {
    dirtyLimitThrottleTimePerRoundUs: 777,
    dirtyLimitRingFullTimeUs: 200_000,
  });
  live.vcpuDirtyLimitMiBPerSecond = 10;
  throttle.periodEnded(bad);
  throttle.periodEnded(bad);
  assert.equal(vcpus.dirtyLimit(1), 10);
  throttle.release();
  assert.deepEqual(vcpus.dirtyLimits(), []);
});

test('a guest that cannot be throttled is refused by name, unless it never runs', () => {
  const guest = { blocks: [], dirtyLog: { kind: 'write-barrier', bitmaps: [] } } as const;
  const options = resolveMigrateOptions({ autoConverge: true });
  assert.throws(() => new GuestThrottle(options, guest), { code: 'bad-option', message: /auto-converge/ });
  const limit = resolveMigrateOptions({ dirtyLimit: true });
  assert.throws(() => new GuestThrottle(limit, guest), { code: 'bad-option', message: /dirty-limit/ });
  new GuestThrottle(options, { blocks: [], dirtyLog: { kind: 'none' } }).periodEnded(bad);
  assert.throws(() => resolveMigrateOptions({ autoConverge: true, dirtyLimit: true }), {
    code: 'bad-option',
  });
  assert.throws(() => resolveMigrateOptions({ cpuThrottleInitial: 60, maxCpuThrottle: 50 }), {
    code: 'bad-option',
    message: /max-cpu-throttle/,
  });
});

test('a period ends at the first sync after more than a second', () => {
  const clock = { ms: 100 };
  const periods = new SyncPeriods(() => clock.ms);
  clock.ms += 1000;
  assert.equal(periods.synced(10, 1000), undefined);
  clock.ms += 1000;
  assert.deepEqual(periods.synced(30, 5000), { dirtiedPages: 30, sentBytes: 5000 });
  assert.equal(periods.dirtyPagesPerSecond, 15);
  clock.ms += 500;
  assert.equal(periods.synced(90, 5500), undefined);
  clock.ms += 501;
  assert.deepEqual(periods.synced(100, 6000), { dirtiedPages: 70, sentBytes: 1000 });
});
