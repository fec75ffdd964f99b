import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { startGroup, whileNoneLoads, whileNotKilled } from './native-load.ts';
import { loadSystemCalls } from './system-calls.ts';

const skip = (await loadSystemCalls()) === undefined ? 'no system calls on this platform' : false;

/** Tells when it begins to load. */
const LOADER = `import(${JSON.stringify(new URL('./system-calls.ts', import.meta.url).href)}).then((module) => {
  require('node:worker_threads').parentPort.postMessage('loading');
  return module.loadSystemCalls();
});`;

test('threads are killed in the middle of loading native code, and the process lives on', {
  skip,
}, async () => {
  const one = async () => {
    const [thread, group] = startGroup(() => new Worker(LOADER, { eval: true }));
    await once(thread, 'message');
    await sleep(Math.random() * 20);
    await whileNoneLoads(() => thread.terminate(), group);
  };
  // One thread in about a hundred that is killed without waiting ends the process.
  for (let round = 0; round < 10; round++) await Promise.all(Array.from({ length: 6 }, one));
});

test('what loads and what kills wait for each other, and not for their like', async () => {
  const order: string[] = [];
  const [first, second, killed] = [0, 0, 0].map(() => Promise.withResolvers<void>());
  const loads = [first!, second!].map(({ promise }, i) =>
    whileNotKilled(async () => {
      order.push(`load ${i}`);
      await promise;
    }),
  );
  const kill = whileNoneLoads(async () => {
    order.push('kill');
    await killed!.promise;
  });
  first!.resolve();
  await sleep(20);
  assert.deepEqual(order, ['load 0', 'load 1']);
  second!.resolve();
  await Promise.all(loads);
  await sleep(20);
  const late = whileNotKilled(async () => void order.push('late'));
  await sleep(20);
  assert.deepEqual(order.slice(2), ['kill']);
  killed!.resolve();
  await Promise.all([kill, late]);
  assert.deepEqual(order.slice(2), ['kill', 'late']);
});
