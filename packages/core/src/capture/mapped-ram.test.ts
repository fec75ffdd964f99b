import assert from 'node:assert/strict';
import test from 'node:test';
import { mappedRamBitmapBytes } from '../wire/ram-records.ts';
import { layOutMappedRam, setRun, setRuns } from './mapped-ram.ts';

test('a block is laid out as QEMU 10.0 does: 16 MiB whose header starts at byte 114', () => {
  const { header, endOffset } = layOutMappedRam(0x72, 16 * 1024 * 1024);
  assert.deepEqual(header, { version: 1, pageSizeBytes: 4096, bitmapOffset: 0x8e, pagesOffset: 0x100000 });
  assert.equal(endOffset, 0x1100000);
});

test('a bitmap that ends on the alignment leaves no hole', () => {
  assert.equal(layOutMappedRam(0x100000 - 28 - 8, 64 * 4096).header.pagesOffset, 0x100000);
  assert.equal(layOutMappedRam(0x100000 - 28 - 7, 64 * 4096).header.pagesOffset, 0x200000);
});

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
