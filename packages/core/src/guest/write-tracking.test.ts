import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { RamBlock, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { RunControl } from './run-control.ts';
import { createWriteTracking, endWriteTracking, WriteBarrier, WriteTracker } from './write-tracking.ts';

const PAGES = 6000;
const WORDS = TARGET_PAGE_BYTES / 4;

/**
 * Two vCPUs that write the same pages: each write fills a page with a word of its own, so that a copy of a page
 * that was being written shows. Word 2+i of `counts` is the number of writes of vCPU i.
 */
async function startWriters(t: test.TestContext) {
  const control = RunControl.create(2);
  const blocks = [RamBlock.allocate('rom', 4 * TARGET_PAGE_BYTES), RamBlock.allocate('ram', PAGES * 4096)];
  const tracking = createWriteTracking(blocks);
  const counts = new Int32Array(new SharedArrayBuffer(16));
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { modules, buffer, tracking, ram, counts, vcpu } = workerData;
    Promise.all(modules.map((module) => import(module))).then(([{ RunControl }, { WriteBarrier }]) => {
      const control = new RunControl(buffer);
      const barrier = new WriteBarrier(tracking, tracking.blocks[1], ram, control);
      const words = new Int32Array(ram.buffer);
      parentPort.postMessage('ready');
      for (let value = 1; ; ) {
        control.parkUntilStarted(vcpu);
        while (control.mayRun()) {
          const page = (Math.imul(value, 7919) >>> 0) % ${PAGES};
          if (!barrier.beforeWrite(page)) continue;
          words.fill(value++, page * ${WORDS}, (page + 1) * ${WORDS});
          Atomics.add(counts, 2 + vcpu, 1);
        }
      }
    });`;
  const modules = ['./run-control.ts', './write-tracking.ts'].map(
    (name) => new URL(name, import.meta.url).href,
  );
  const ram = blocks[1]!.toMemory();
  const workers = [0, 1].map((vcpu) => {
    const workerData = { modules, buffer: control.buffer, tracking, ram, counts, vcpu };
    return new Worker(source, { eval: true, workerData });
  });
  t.after(() => Promise.all(workers.map((worker) => worker.terminate())));
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
  const writes = () => Atomics.load(counts, 2) + Atomics.load(counts, 3);
  return { control, blocks, tracking, writes };
}

const copyOf = (block: RamBlock) => Buffer.from(block.bytes).subarray();

/** Saves pages until all are saved; `turn` is called between two turns of the snapshot. */
async function saveAll(tracker: WriteTracker, blocks: readonly RamBlock[], turn: () => Promise<void>) {
  const saved = blocks.map((block) => Buffer.alloc(block.usedLengthBytes));
  const times = blocks.map((block) => new Uint8Array(block.pageCount));
  const batch = new Uint32Array(16);
  let left = blocks.reduce((sum, { pageCount }) => sum + pageCount, 0);
  let urgent = 0;
  while (left > 0) {
    const copied = tracker.takeUrgent(Number.POSITIVE_INFINITY, (block, page, slots, at) => {
      slots.copy(saved[block]!, page * 4096, at, at + 4096);
      times[block]![page]!++;
    });
    const count = tracker.claim(batch);
    for (const page of batch.subarray(0, count)) {
      const { bytes } = blocks[tracker.blockIndex]!;
      saved[tracker.blockIndex]!.set(bytes.subarray(page * 4096, (page + 1) * 4096), page * 4096);
      times[tracker.blockIndex]![page]!++;
    }
    if (count > 0) tracker.release(batch, count);
    left -= copied + count;
    urgent += copied;
    await turn();
  }
  return { saved, times, urgent };
}

test('every page is saved once, as it was when the snapshot began', { timeout: 60_000 }, async (t) => {
  const { control, blocks, tracking, writes } = await startWriters(t);
  for (let round = 0; round < 10; round++) {
    control.start();
    await delay(20);
    assert.ok(await control.stop());
    const expected = blocks.map(copyOf);
    const tracker = new WriteTracker(tracking, blocks);
    tracker.begin();
    control.start();
    const before = writes();
    // In every other round the snapshot is slow, and the vCPUs fill all slots.
    const { saved, times, urgent } = await saveAll(tracker, blocks, async () => {
      if (round % 2 === 0) await delay(1);
    });
    tracker.end();
    for (const [index, block] of blocks.entries()) {
      assert.ok(saved[index]!.equals(expected[index]!), `${block.idstr} in round ${round}`);
      assert.ok(times[index]!.every((count) => count === 1));
    }
    if (round % 2 === 0) assert.ok(urgent > 1000 && writes() > before, `${urgent} urgent pages`);
    assert.ok(await control.stop());
  }
});

test('a guest that waits for slots stops at once, and nothing of it is lost', {
  timeout: 60_000,
}, async (t) => {
  const { control, blocks, tracking, writes } = await startWriters(t);
  const expected = blocks.map(copyOf);
  const tracker = new WriteTracker(tracking, blocks);
  tracker.begin();
  control.start();
  // Nobody takes the copies: 1024 pages can be written, and no more.
  let seen = -1;
  while (writes() !== seen) {
    seen = writes();
    await delay(100);
  }
  assert.ok(seen >= 1000 && seen <= 2048, `${seen} writes`);
  const started = performance.now();
  assert.ok(await control.stop(3000));
  assert.ok(performance.now() - started < 1500);
  control.start();
  const { saved } = await saveAll(tracker, blocks, () => delay(0));
  tracker.end();
  for (const [index] of blocks.entries()) assert.ok(saved[index]!.equals(expected[index]!));
});

test('a snapshot that is given up holds nobody, and the next one is whole', {
  timeout: 60_000,
}, async (t) => {
  const { control, blocks, tracking, writes } = await startWriters(t);
  for (let round = 0; round < 3; round++) {
    const tracker = new WriteTracker(tracking, blocks);
    tracker.begin();
    assert.throws(() => new WriteTracker(tracking, blocks).begin(), { code: 'bad-option' });
    control.start();
    while (writes() < 1000 * (round + 1)) await delay(5);
    // As when the snapshot's thread has died.
    endWriteTracking(tracking);
    const before = writes();
    while (writes() < before + 10_000) await delay(5);
    assert.ok(await control.stop());
  }
  const expected = blocks.map(copyOf);
  const tracker = new WriteTracker(tracking, blocks);
  tracker.begin();
  control.start();
  const { saved } = await saveAll(tracker, blocks, () => delay(0));
  tracker.end();
  assert.ok(saved[1]!.equals(expected[1]!));
});

test('blocks that are not saved are left alone', () => {
  const blocks = ['kept', 'saved'].map((idstr) => RamBlock.allocate(idstr, 100 * TARGET_PAGE_BYTES));
  const tracking = createWriteTracking(blocks);
  const tracker = new WriteTracker(tracking, blocks);
  tracker.begin((index) => index === 1);
  const pages = new Uint32Array(1000);
  assert.equal(tracker.claim(pages), 100);
  assert.equal(tracker.blockIndex, 1);
  tracker.release(pages, 100);
  assert.equal(tracker.claim(pages), 0);
  const barrier = new WriteBarrier(tracking, tracking.blocks[0]!, blocks[0]!, { mayRun: () => true });
  assert.ok(barrier.beforeWrite(7));
  assert.equal(
    tracker.takeUrgent(1, () => assert.fail('nothing was to be copied')),
    0,
  );
  tracker.end();
});

test('tracking memory of other blocks is refused', () => {
  const block = RamBlock.allocate('ram', 4096 * 100);
  assert.throws(() => new WriteTracker(createWriteTracking([block]), [block, block]), { code: 'bad-option' });
  const larger = RamBlock.allocate('ram', 4096 * 1000);
  assert.throws(() => new WriteTracker(createWriteTracking([block]), [larger]), { code: 'bad-option' });
});
