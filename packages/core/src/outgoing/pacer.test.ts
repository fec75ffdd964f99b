import assert from 'node:assert/strict';
import test from 'node:test';
import { Pacer } from './pacer.ts';

const MB = 1_000_000;

function pacerAt(maxBandwidthBytesPerSecond: number) {
  const clock = { ms: 1000 };
  const live = {
    maxBandwidthBytesPerSecond,
    downtimeLimitMs: 300,
    availSwitchoverBandwidthBytesPerSecond: 0,
  };
  return { clock, live, pacer: new Pacer(live, () => clock.ms) };
}

test('a window closes after 100 ms and gives the rates of wire and guest', () => {
  const { clock, live, pacer } = pacerAt(0);
  assert.equal(pacer.thresholdBytes, 0, 'nothing is known yet');
  clock.ms += 99;
  assert.equal(pacer.update(5000, 9000, 3), undefined);
  assert.equal(pacer.wireBytesPerMs, 0);
  clock.ms += 1;
  assert.equal(pacer.update(10_000, 40_000, 10), 10_000);
  assert.equal(pacer.wireBytesPerMs, 100);
  assert.equal(pacer.guestBytesPerMs, 400);
  assert.equal(pacer.pagesPerSecond, 100);
  // Compressed: what fits is counted in guest bytes.
  assert.equal(pacer.thresholdBytes, 120_000);
  live.downtimeLimitMs = 100;
  assert.equal(pacer.thresholdBytes, 40_000);
  live.availSwitchoverBandwidthBytesPerSecond = 7_000_500;
  assert.equal(pacer.thresholdBytes, 700_050, 'what is given counts more than what was measured');
});

test('without a limit nobody waits, and a limit that comes later begins with nothing owed', () => {
  const { clock, live, pacer } = pacerAt(0);
  assert.equal(pacer.waitMs(1e12, 1000), 0);
  live.maxBandwidthBytesPerSecond = MB;
  clock.ms += 10;
  assert.equal(pacer.waitMs(1e12, 0), 0);
  assert.equal(pacer.unlimited(), false);
  // The same limit again, after a while without.
  live.maxBandwidthBytesPerSecond = 9;
  assert.equal(pacer.unlimited(), true);
  live.maxBandwidthBytesPerSecond = MB;
  clock.ms += 10;
  assert.equal(pacer.waitMs(2e12, 0), 0);
});

test('the limit is kept, whatever it is changed to, and a pause is not saved up', () => {
  const { clock, live, pacer } = pacerAt(MB);
  let sent = 0;
  for (const limit of [1, 50, 3, 800, 10]) {
    live.maxBandwidthBytesPerSecond = limit * MB;
    const before = sent;
    for (const start = clock.ms; clock.ms - start < 4000; ) {
      const wait = pacer.waitMs(sent, 0);
      if (wait > 0) clock.ms += wait;
      else sent += 64 * 1024;
    }
    const share = (sent - before) / (4 * limit * MB);
    assert.ok(Math.abs(share - 1) < 0.05, `${share} of ${limit} MB/s`);
  }
  clock.ms += 10_000;
  let burst = 0;
  while (pacer.waitMs(sent + burst, 0) === 0) burst += 1000;
  assert.ok(burst <= 1_001_000, `a burst of ${burst} bytes after a pause`);
});

test('queues are filled only as far as the limit soon allows, by what pages become on the wire', () => {
  const { clock, live, pacer } = pacerAt(50 * MB);
  pacer.waitMs(0, 0);
  clock.ms += 1;
  const queueable = () => {
    let pages = 1;
    while (pacer.waitMs(0, pages) === 0) pages++;
    return pages;
  };
  // 50 ms at 50 MB/s.
  assert.equal(queueable(), Math.ceil((50 * 50_000) / 4096));
  assert.ok(pacer.waitMs(0, 10_000) <= 2, 'a queue is looked at again soon');
  clock.ms += 100;
  pacer.update(1000 * 1024, 1000 * 4096, 1000);
  clock.ms += 100;
  pacer.update(2000 * 1024, 2000 * 4096, 2000);
  const compressed = pacer.waitMs(2000 * 1024, Math.floor((20 * 50_000) / 1024));
  assert.equal(compressed, 0);
  live.maxBandwidthBytesPerSecond = MB;
  assert.equal(pacer.waitMs(2000 * 1024, 1000), 2, 'what is queued already goes out');
  clock.ms += 20;
  assert.equal(pacer.waitMs(3000 * 1024, 0), 0, 'and is not owed');
});
