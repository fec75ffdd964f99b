import assert from 'node:assert/strict';
import test from 'node:test';
import { mappedRamBitmapBytes } from '../wire/ram-records.ts';
import { setRun, setRuns } from './mapped-ram.ts';

test('runs are exactly the set bits, whatever the pattern and the limit', () => {
  let seed = 1;
  const random = () => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return seed / 2 ** 32;
  };
  for (let round = 0; round < 300; round++) {
    const pageCount = 1 + Math.floor(random() * 200);
    const density = random();
    const bitmap = new Uint8Array(mappedRamBitmapBytes(pageCount * 4096));
    const expected: number[] = [];
    for (let page = 0; page < pageCount; page++) {
      // Long stretches as well as single pages: the state changes only now and then.
      if (Math.floor(page / 16) % 2 === 0 ? density > 0.5 : random() < density) {
        setRun(bitmap, { first: page, count: 1 });
        expected.push(page);
      }
    }
    // Padding that a reader must not take for pages.
    for (let page = pageCount; page < bitmap.length * 8; page++) setRun(bitmap, { first: page, count: 1 });
    const maxPages = 1 + Math.floor(random() * 40);
    const runs = [...setRuns(bitmap, pageCount, maxPages)];
    assert.ok(runs.every((run) => run.count >= 1 && run.count <= maxPages));
    assert.deepEqual(
      runs.flatMap((run) => Array.from({ length: run.count }, (_, i) => run.first + i)),
      expected,
    );
  }
});
