import assert from 'node:assert/strict';
import test from 'node:test';
import { DIRTY_RING_PAGES, DirtyRing } from './dirty-ring.ts';
import { RunControl } from './run-control.ts';
import { VcpuBrake } from './vcpu-brake.ts';
import { VcpuThrottle } from './vcpu-throttle.ts';

const PAGES = 100_000;

function setUp() {
  const throttle = VcpuThrottle.create(2);
  const clock = { ms: 5000 };
  const brake = new VcpuBrake(throttle, 1, PAGES, () => clock.ms);
  brake.begin();
  return { throttle, clock, brake };
}

/** Writes distinct pages at a rate for a time, standing still when told to. Returns how many were written. */
function run({ brake, clock }: ReturnType<typeof setUp>, pagesPerMs: number, forMs: number): number {
  let written = 0;
  for (const end = clock.ms + forMs; clock.ms < end; ) {
    clock.ms += 1;
    for (let i = 0; i < pagesPerMs; i++) brake.wrote(written++ % PAGES, true);
    clock.ms += brake.dueMs();
  }
  return written;
}

test('a throttled vCPU runs for the rest of the time', () => {
  for (const percentage of [0, 20, 50, 90, 99]) {
    const parts = setUp();
    parts.throttle.percentage = percentage;
    const written = run(parts, 4, 20_000);
    const share = written / 4 / 20_000;
    assert.ok(Math.abs(share - (100 - percentage) / 100) < 0.002, `${percentage} %: ran ${share}`);
  }
});

test('a dirty limit is kept, by a vCPU that fills its ring and by one that does not', () => {
  for (const [limit, pagesPerMs] of [
    [50, 100],
    [10, 25],
    [2, 3],
  ] as const) {
    const parts = setUp();
    parts.throttle.limitDirtyRate(limit, 1);
    const mibPerSecond = (run(parts, pagesPerMs, 30_000) * 4096) / 2 ** 20 / 30;
    assert.ok(Math.abs(mibPerSecond - limit) < limit / 10, `limit ${limit}: ${mibPerSecond}`);
    assert.ok(parts.throttle.throttledUs(1) > 0);
    assert.equal(parts.throttle.dirtyRate(0), 0, 'the other vCPU is none of its business');
  }
});

test('a limit above what is dirtied, or taken away, costs nothing', () => {
  const parts = setUp();
  parts.throttle.limitDirtyRate(100);
  assert.equal(run(parts, 10, 3000), 30_000);
  assert.equal(parts.throttle.throttledUs(1), 0);
  parts.throttle.limitDirtyRate(1);
  parts.throttle.limitDirtyRate(0);
  assert.equal(run(parts, 10, 3000), 30_000);
});

test('however low the limit, a vCPU runs a hundredth of the time', () => {
  const parts = setUp();
  parts.throttle.limitDirtyRate(1);
  const written = run(parts, 1024, 100_000);
  assert.ok(written / 1024 >= 900, `ran ${written / 1024} ms of 100 s`);
});

test('the rate is measured over the period, each page once per round', () => {
  const parts = setUp();
  parts.throttle.periodMs = 500;
  run(parts, 256, 2000);
  assert.equal(parts.throttle.dirtyRate(1), 1000);
  const before = parts.throttle.ringPages(1);
  for (let ms = 0; ms < 900; ms++) {
    for (let page = 0; page < 100; page++) parts.brake.wrote(page, false);
    parts.clock.ms++;
    parts.brake.dueMs();
  }
  const pages = parts.throttle.ringPages(1) - before;
  assert.ok(pages <= 200, `${pages} pages for 100 that were written all the time`);
  parts.brake.end();
  assert.equal(parts.throttle.dirtyRate(1), 0, 'a stopped vCPU dirties nothing');
});

test('a ring that was filled beyond its length is empty afterwards', () => {
  const ring = new DirtyRing(PAGES);
  for (const length of [10, DIRTY_RING_PAGES, DIRTY_RING_PAGES + 300]) {
    for (let page = 0; page < length; page++) ring.push(page);
    for (let page = 0; page < length; page++) ring.push(page);
    assert.equal(ring.length, length);
    assert.equal(ring.isFull, length >= DIRTY_RING_PAGES);
    ring.empty();
    assert.equal(ring.length, 0);
  }
});

test('a pause ends when the guest is stopped or the throttle changes', () => {
  const throttle = VcpuThrottle.create(1);
  const control = RunControl.create(1);
  const clock = { ms: 0 };
  const brake = new VcpuBrake(throttle, 0, PAGES, () => clock.ms);
  control.sleepWhileRunning = (ms) => {
    clock.ms += ms;
    if (clock.ms > 300) throttle.percentage = 0;
  };
  control.start();
  throttle.percentage = 99;
  brake.begin();
  clock.ms += 10;
  assert.equal(brake.apply(control), true);
  assert.ok(clock.ms < 350, `slept until ${clock.ms} of 1000 ms`);
  throttle.percentage = 99;
  control.stop();
  const before = clock.ms;
  clock.ms += 10;
  brake.apply(control);
  assert.equal(clock.ms, before + 10);
});

test('what cannot be is refused', () => {
  const throttle = VcpuThrottle.create(2);
  assert.throws(() => throttle.limitDirtyRate(5, 2), { code: 'bad-option', message: /cpu-index/ });
  assert.throws(() => throttle.limitDirtyRate(-1), { code: 'bad-option' });
  assert.throws(
    () => {
      throttle.percentage = 100;
    },
    { code: 'bad-option' },
  );
  throttle.limitDirtyRate(7, 1);
  assert.deepEqual(throttle.dirtyLimits(), [{ cpuIndex: 1, limitRate: 7, currentRate: 0 }]);
});
