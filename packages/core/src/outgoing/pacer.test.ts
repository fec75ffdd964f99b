import assert from 'node:assert/strict';
import test from 'node:test';
import { Pacer } from './pacer.ts';

function pacerAt(limit: number) {
  const clock = { ms: 1000 };
  return { clock, pacer: new Pacer({ maxBandwidthBytesPerSecond: limit }, () => clock.ms) };
}

test('a window closes after 100 ms and gives the rates of wire and guest', () => {
  const { clock, pacer } = pacerAt(0);
  assert.equal(pacer.thresholdBytes(300), 0, 'nothing is known yet');
  clock.ms += 99;
  pacer.update(5000, 9000, 3);
  assert.equal(pacer.wireBytesPerMs, 0);
  clock.ms += 1;
  pacer.update(10_000, 40_000, 10);
  assert.equal(pacer.wireBytesPerMs, 100);
  assert.equal(pacer.guestBytesPerMs, 400);
  assert.equal(pacer.pagesPerSecond, 100);
  // Compressed: what fits is counted in guest bytes.
  assert.equal(pacer.thresholdBytes(300), 120_000);
});

test('without a limit nobody waits', () => {
  const { pacer } = pacerAt(0);
  assert.equal(pacer.waitMs(1e12), 0);
});

test('the limit is kept over time, an overshoot is paid back, a pause is not saved up', () => {
  const { clock, pacer } = pacerAt(1_000_000);
  let sent = 0;
  for (const start = clock.ms; clock.ms - start < 2000; ) {
    const wait = pacer.waitMs(sent);
    if (wait > 0) clock.ms += wait;
    else sent += 64 * 1024;
  }
  assert.ok(Math.abs(sent - 2_000_000) < 150_000, `${sent} bytes in 2 s`);
  clock.ms += 10_000;
  let burst = 0;
  while (pacer.waitMs(sent + burst) === 0) burst += 1000;
  assert.ok(burst <= 101_000, `a burst of ${burst} bytes after a pause`);
});
