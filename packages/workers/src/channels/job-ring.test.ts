import assert from 'node:assert/strict';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { Bell } from './bell.ts';
import { ChannelCells } from './channel-cells.ts';
import { createJob, JOB_RING_BYTES, JobKind, JobRing } from './job-ring.ts';

function ring() {
  const cells = ChannelCells.create(JOB_RING_BYTES);
  return { cells, ring: new JobRing(cells) };
}

test('jobs come out as they went in, and a full ring takes no more', () => {
  const { ring: jobs } = ring();
  const job = createJob();
  assert.equal(jobs.peek(job), false);
  let pushed = 0;
  while (jobs.push(JobKind.pages, pushed, Uint32Array.of(pushed, 2 ** 32 - 1), 2)) pushed++;
  assert.ok(pushed >= 8);
  assert.equal(jobs.length, pushed);
  assert.equal(jobs.hasRoom, false);
  for (let i = 0; i < pushed; i++) {
    assert.ok(jobs.peek(job));
    assert.deepEqual([job.kind, job.block, job.count], [JobKind.pages, i, 2]);
    assert.deepEqual([...job.pages.subarray(0, 2)], [i, 2 ** 32 - 1]);
    // One ring of the bell on the way down, at half.
    assert.equal(jobs.shift(), jobs.length === pushed / 2);
  }
  assert.equal(jobs.peek(job), false);
  assert.ok(jobs.push(JobKind.sync));
  assert.ok(jobs.peek(job));
  assert.equal(job.kind, JobKind.sync);
});

test('the counters may wrap', () => {
  const { cells, ring: jobs } = ring();
  for (const word of [2, 3, 4, 5]) Atomics.store(cells.words, word, 2 ** 31 - 3);
  const job = createJob();
  for (let i = 0; i < 40; i++) {
    assert.ok(jobs.push(JobKind.pages, i));
    assert.ok(jobs.push(JobKind.pages, i + 1000));
    const target = cells.queued;
    assert.equal(cells.isFlushed(target), false);
    for (const expected of [i, i + 1000]) {
      assert.ok(jobs.peek(job));
      assert.equal(job.block, expected);
      jobs.shift();
      assert.equal(cells.complete(), expected === i + 1000);
    }
    assert.equal(cells.isFlushed(target), true);
  }
});

test('a flush that waits for less does not hide one that waits for more', () => {
  const { cells, ring: jobs } = ring();
  for (let i = 0; i < 3; i++) jobs.push(JobKind.pages);
  assert.equal(cells.isFlushed(3), false);
  assert.equal(cells.isFlushed(1), false);
  assert.deepEqual([cells.complete(), cells.complete(), cells.complete()], [false, false, true]);
});

test('a ring that was rung before the wait is not waited for', async () => {
  const bell = new Bell(new Int32Array(new SharedArrayBuffer(8)), 1);
  const seen = bell.count;
  bell.ring();
  assert.equal(bell.changed(seen), undefined);
  const waiting = bell.changed(bell.count);
  assert.ok(waiting);
  bell.ring();
  await waiting;
});

/** The other thread: takes jobs, checks their order, and answers with how many of each kind there were. */
const CONSUMER = `
  const { parentPort, workerData } = require('node:worker_threads');
  (async () => {
    // A thread that waits for memory only would end.
    parentPort.on('message', () => {});
    const { ChannelCells } = await import(workerData.base + 'channel-cells.ts');
    const { JobRing, createJob, JobKind } = await import(workerData.base + 'job-ring.ts');
    const cells = new ChannelCells(workerData.buffer);
    const ring = new JobRing(cells);
    const job = createJob();
    let next = 0, pages = 0, syncs = 0, waits = 0;
    for (;;) {
      const seen = cells.workerBell.count;
      if (!ring.peek(job)) { waits++; await cells.workerBell.changed(seen); continue; }
      if (job.kind === JobKind.end) break;
      if (job.kind === JobKind.sync) {
        // Everything before a SYNC was taken before it.
        if (job.block !== next) throw new Error('sync ' + job.block + ' behind job ' + next);
        syncs++;
      } else {
        if (job.block !== next) throw new Error('job ' + job.block + ' instead of ' + next);
        for (let i = 0; i < job.count; i++) if (job.pages[i] !== next * 128 + i) throw new Error('pages of ' + next);
        next++;
        pages += job.count;
      }
      ring.shift();
      cells.complete();
      Atomics.add(new Int32Array(workerData.coordinator), 0, 1);
      Atomics.notify(new Int32Array(workerData.coordinator), 0);
    }
    parentPort.postMessage({ pages, syncs, waits });
  })();
`;

test('two threads: nothing is lost, doubled or reordered, over many rounds of a full ring', async () => {
  const { cells, ring: jobs } = ring();
  const coordinator = new SharedArrayBuffer(4);
  const worker = new Worker(CONSUMER, {
    eval: true,
    workerData: { base: new URL('./', import.meta.url).href, buffer: cells.buffer, coordinator },
  });
  const answer = Promise.withResolvers<{ pages: number; syncs: number; waits: number }>();
  worker.once('message', answer.resolve);
  worker.once('error', answer.reject);
  worker.once('exit', () => answer.reject(new Error('the consumer ended')));

  const room = new Bell(new Int32Array(coordinator), 0);
  const numbers = new Uint32Array(128);
  const push = async (kind: JobKind, block: number, count: number) => {
    for (;;) {
      const seen = room.count;
      if (jobs.push(kind, block, numbers, count)) return;
      full++;
      await room.changed(seen);
    }
  };
  let full = 0;
  let pages = 0;
  let syncs = 0;
  const JOBS = 20_000;
  for (let i = 0; i < JOBS; i++) {
    const count = 1 + (i % 128);
    for (let p = 0; p < count; p++) numbers[p] = i * 128 + p;
    await push(JobKind.pages, i, count);
    pages += count;
    if (i % 97 === 0) {
      await push(JobKind.sync, i + 1, 0);
      syncs++;
    }
    // From time to time the other side runs dry.
    if (i % 4000 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await push(JobKind.end, 0, 0);
  const got = await answer.promise;
  assert.equal(got.pages, pages);
  assert.equal(got.syncs, syncs);
  assert.ok(got.waits > 0, 'the consumer had to wait');
  assert.ok(full > 0, 'the ring was full at times');
  assert.ok(cells.isFlushed(cells.queued - 1));
  await worker.terminate();
});
