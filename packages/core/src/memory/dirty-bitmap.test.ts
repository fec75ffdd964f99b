import assert from 'node:assert/strict';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { DirtyBitmap } from './dirty-bitmap.ts';

/** A small generator, so that a failure can be repeated. */
function randomInts(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return Math.floor(((state >>> 0) / 2 ** 32) * limit);
  };
}

function pagesOf(bitmap: DirtyBitmap): number[] {
  const pages: number[] = [];
  for (let page = bitmap.nextSet(0); page >= 0; page = bitmap.nextSet(page + 1)) pages.push(page);
  return pages;
}

const ascending = (pages: Iterable<number>): number[] => [...pages].sort((a, b) => a - b);

test('every operation agrees with a set of page numbers', () => {
  for (const pageCount of [1, 31, 32, 33, 64, 100, 257]) {
    const int = randomInts(pageCount);
    const bitmap = new DirtyBitmap(pageCount);
    const model = new Set<number>();
    const into = new Uint32Array(pageCount + 8);
    for (let step = 0; step < 3000; step++) {
      const page = int(pageCount);
      const count = int(pageCount - page + 1);
      const range = Array.from({ length: count }, (_, index) => page + index);
      switch (int(10)) {
        case 0:
          assert.equal(bitmap.set(page), !model.has(page));
          model.add(page);
          break;
        case 1:
          assert.equal(bitmap.testAndClear(page), model.delete(page));
          break;
        case 2:
          bitmap.setRange(page, count);
          for (const each of range) model.add(each);
          break;
        case 3:
          assert.equal(
            bitmap.testAndClearRange(page, count),
            range.filter((each) => model.delete(each)).length,
          );
          break;
        case 4: {
          const at = int(8);
          const taken = bitmap.takeRun(page, count, into, at);
          const expected = ascending(model)
            .filter((each) => each >= page)
            .slice(0, count);
          assert.deepEqual([...into.subarray(at, at + taken)], expected);
          for (const each of expected) model.delete(each);
          break;
        }
        case 5:
          assert.equal(bitmap.nextSet(page), ascending(model).find((each) => each >= page) ?? -1);
          break;
        case 6: {
          const clear = Array.from({ length: pageCount }, (_, each) => each);
          assert.equal(bitmap.nextClear(page), clear.find((each) => each >= page && !model.has(each)) ?? -1);
          break;
        }
        case 7: {
          const rare = int(16);
          if (rare === 0) {
            bitmap.clearAll();
            model.clear();
          } else if (rare === 1) {
            bitmap.setAll();
            for (let each = 0; each < pageCount; each++) model.add(each);
          }
          break;
        }
        case 8: {
          const log = new DirtyBitmap(pageCount);
          for (let each = 0; each < 5; each++) log.set(int(pageCount));
          const fresh = pagesOf(log).filter((each) => !model.has(each));
          for (const each of fresh) model.add(each);
          const marked = pagesOf(log);
          assert.equal(bitmap.addFrom(log), fresh.length);
          assert.deepEqual(pagesOf(log), marked, 'marks stay');
          const first = int(pageCount);
          log.setAll();
          log.clearSetIn(bitmap, first, pageCount - first);
          const kept = Array.from({ length: pageCount }, (_, each) => each);
          assert.deepEqual(
            pagesOf(log),
            kept.filter((each) => each < first || !model.has(each)),
          );
          break;
        }
        default:
          assert.equal(bitmap.test(page), model.has(page));
      }
      assert.equal(bitmap.count(), model.size);
    }
    assert.deepEqual(pagesOf(bitmap), ascending(model));
  }
});

test('setAll sets no bit beyond the last page', () => {
  const bitmap = new DirtyBitmap(70);
  bitmap.setAll();
  assert.equal(bitmap.count(), 70);
  assert.deepEqual([...new Uint32Array(bitmap.buffer)], [0xffffffff, 0xffffffff, 0x3f]);
  assert.equal(bitmap.nextClear(0), -1);
});

test('takeRun stops at an end', () => {
  const bitmap = new DirtyBitmap(256);
  bitmap.setAll();
  const into = new Uint32Array(200);
  assert.equal(bitmap.takeRun(10, 200, into, 0, 64), 54);
  assert.deepEqual([into[0], into[53]], [10, 63]);
  assert.equal(bitmap.takeRun(10, 200, into, 0, 64), 0);
  assert.equal(bitmap.takeRun(64, 200, into, 0, 1000), 192);
});

test('takeRun fills no more than its array has room for', () => {
  const bitmap = new DirtyBitmap(256);
  bitmap.setAll();
  const into = new Uint32Array(40);
  assert.equal(bitmap.takeRun(0, 1000, into), 40);
  assert.equal(bitmap.count(), 216);
  assert.equal(bitmap.nextSet(0), 40);
  assert.equal(bitmap.takeRun(256, 10, into), 0);
});

test('pages outside of the bitmap and buffers that are too small are refused', () => {
  const bitmap = new DirtyBitmap(40);
  for (const use of [
    () => bitmap.set(40),
    () => bitmap.test(40),
    () => bitmap.testAndClear(63),
    () => bitmap.setRange(39, 2),
    () => bitmap.testAndClearRange(41, 0),
  ]) {
    assert.throws(use, { code: 'bad-page' });
  }
  assert.throws(() => new DirtyBitmap(33, new SharedArrayBuffer(4)), { code: 'bad-option' });
  assert.throws(() => new DirtyBitmap(2 ** 31), { code: 'bad-option' });
  assert.throws(() => bitmap.addFrom(new DirtyBitmap(41)), { code: 'internal' });
  assert.throws(() => bitmap.clearSetIn(new DirtyBitmap(41), 0, 1), { code: 'internal' });
});

test('two threads lose no mark and see none twice', { timeout: 20_000 }, async () => {
  const pageCount = 50;
  const log = new DirtyBitmap(pageCount);
  const stop = new Int32Array(new SharedArrayBuffer(4));
  // The other thread counts how often a page became dirty; each time it must come out here exactly once.
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.module).then(({ DirtyBitmap }) => {
      const log = new DirtyBitmap(workerData.pageCount, workerData.buffer);
      let fresh = 0;
      for (let page = 0; Atomics.load(workerData.stop, 0) === 0; page = (page + 29) % log.pageCount) {
        if (log.set(page)) fresh++;
      }
      parentPort.postMessage(fresh);
    });`;
  const module = new URL('./dirty-bitmap.ts', import.meta.url).href;
  const worker = new Worker(source, {
    eval: true,
    workerData: { module, pageCount, buffer: log.buffer, stop },
  });
  const marked = new Promise<number>((resolve, reject) =>
    worker.once('message', resolve).once('error', reject),
  );
  const pages = new DirtyBitmap(pageCount);
  const into = new Uint32Array(pageCount);
  let taken = 0;
  let rounds = 0;
  let turn = 0;
  const takeAll = (): void => {
    let count = 0;
    switch (turn++ % 3) {
      case 0:
        count = pages.addFrom(log);
        log.clearSetIn(pages, 0, pageCount);
        assert.equal(pages.testAndClearRange(0, pageCount), count);
        break;
      case 1:
        count = log.takeRun(0, pageCount, into);
        break;
      default:
        count = log.testAndClearRange(0, pageCount);
    }
    taken += count;
    if (count > 0) rounds++;
  };
  // Where the threads have to share a processor, few rounds meet the other thread at work.
  const deadline = performance.now() + 4000;
  while (rounds < 50_000 && performance.now() < deadline) takeAll();
  Atomics.store(stop, 0, 1);
  const fresh = await marked;
  takeAll();
  assert.equal(taken, fresh);
  assert.ok(rounds > 1, 'the threads did not run at the same time');
});
