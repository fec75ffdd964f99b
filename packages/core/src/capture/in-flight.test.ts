import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as nextTick } from 'node:timers/promises';
import { InFlight } from './in-flight.ts';

test('no more than the limit run at once, and all have run when it is drained', async () => {
  const inFlight = new InFlight(3);
  let running = 0;
  let most = 0;
  let done = 0;
  for (let i = 0; i < 20; i++) {
    await inFlight.run(async () => {
      most = Math.max(most, ++running);
      for (let tick = 0; tick <= i % 4; tick++) await nextTick();
      running--;
      done++;
    });
  }
  await inFlight.drain();
  assert.equal(most, 3);
  assert.equal(done, 20);
});

test('the first failure stops what follows, and nothing is left running', async () => {
  const inFlight = new InFlight(2);
  let running = 0;
  const task = (error?: Error) => async () => {
    running++;
    await nextTick();
    running--;
    if (error !== undefined) throw error;
  };
  await inFlight.run(task(new Error('first')));
  await inFlight.run(task(new Error('second')));
  await assert.rejects(async () => {
    for (let i = 0; i < 10; i++) await inFlight.run(task());
  }, /first/);
  await inFlight.settle();
  assert.equal(running, 0);
  await assert.rejects(inFlight.drain(), /first/);
});
