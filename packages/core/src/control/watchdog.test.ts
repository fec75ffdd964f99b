import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { StallWatch } from './watchdog.ts';

const place = () => ({ channel: 'main', offset: 42 });

test('fails when nothing moves, naming the channel', async () => {
  const watch = new StallWatch(40, () => 7, place);
  watch.start();
  await assert.rejects(watch.failed, {
    code: 'stall-timeout',
    channel: 'main',
    offset: 42,
    found: '7 bytes so far',
  });
});

test('movement and own work put it off, and what is owed afterwards counts from then', async () => {
  let moved = 0;
  const watch = new StallWatch(60, () => moved, place);
  let failed = false;
  watch.failed.catch(() => {
    failed = true;
  });
  watch.start();
  const mover = setInterval(() => moved++, 10);
  await delay(150);
  clearInterval(mover);
  await watch.pausedDuring(delay(150));
  assert.equal(failed, false);
  await delay(150);
  assert.equal(failed, true);
});

test('0 is never, and a stopped watch is quiet', async () => {
  for (const limitMs of [0, 20]) {
    const watch = new StallWatch(limitMs, () => 0, place);
    watch.start();
    if (limitMs > 0) watch.stop();
    assert.equal(await Promise.race([watch.failed, delay(80, 'quiet')]), 'quiet');
    watch.stop();
  }
});
