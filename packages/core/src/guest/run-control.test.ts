import assert from 'node:assert/strict';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { RunControl } from './run-control.ts';

/** Threads that count in word 32*i of `counts` while they may run, each count between two checkpoints. */
async function startCounters(control: RunControl, counts: Int32Array, sleepMs: number): Promise<Worker[]> {
  const source = `
    const { parentPort, workerData: { module, buffer, counts, vcpu, sleepMs } } = require('node:worker_threads');
    import(module).then(({ RunControl }) => {
      const control = new RunControl(buffer);
      parentPort.postMessage('ready');
      for (;;) {
        control.parkUntilStarted(vcpu);
        while (control.mayRun()) {
          Atomics.add(counts, vcpu * 32, 1);
          if (sleepMs > 0) control.sleepWhileRunning(sleepMs);
        }
      }
    });`;
  const module = new URL('./run-control.ts', import.meta.url).href;
  const workers = Array.from({ length: control.vcpuCount }, (_, vcpu) => {
    return new Worker(source, {
      eval: true,
      workerData: { module, buffer: control.buffer, counts, vcpu, sleepMs },
    });
  });
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
  return workers;
}

test('nothing runs after a stop, however short the run was', { timeout: 20_000 }, async () => {
  const control = RunControl.create(2);
  const counts = new Int32Array(new SharedArrayBuffer(64 * 4));
  const workers = await startCounters(control, counts, 0);
  for (let round = 0; round < 300; round++) {
    control.start();
    assert.equal(control.running, true);
    if (round % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await control.stop(), true);
    assert.equal(control.running, false);
    const before = [counts[0], counts[32]];
    if (round % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    assert.deepEqual([counts[0], counts[32]], before);
  }
  assert.ok(counts[0]! > 0 && counts[32]! > 0);
  await Promise.all(workers.map((worker) => worker.terminate()));
});

test('a stop wakes a vCPU that sleeps', { timeout: 20_000 }, async () => {
  const control = RunControl.create(1);
  const counts = new Int32Array(new SharedArrayBuffer(32 * 4));
  const workers = await startCounters(control, counts, 10_000);
  control.start();
  while (Atomics.load(counts, 0) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal(await control.stop(2000), true);
  await Promise.all(workers.map((worker) => worker.terminate()));
});

test('a vCPU that does not answer is reported, one that is retired is not waited for', async () => {
  const control = RunControl.create(2);
  const counts = new Int32Array(new SharedArrayBuffer(64 * 4));
  const [first, second] = await startCounters(control, counts, 0);
  control.start();
  while (Atomics.load(counts, 0) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  await first?.terminate();
  assert.equal(await control.stop(20), false);
  control.retire(0);
  assert.equal(await control.stop(2000), true);
  await second?.terminate();
});
