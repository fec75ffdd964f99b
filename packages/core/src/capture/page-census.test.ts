import assert from 'node:assert/strict';
import test from 'node:test';
import { PageCensus } from './page-census.ts';

function page(...words: number[]): Uint8Array {
  const content = new Uint32Array(1024);
  content.set(words);
  return new Uint8Array(content.buffer);
}

test('every page of a new census is zero', () => {
  assert.deepEqual(new PageCensus([3, 5000]).count(), [
    { zeroPages: 3, uniquePages: 0, duplicatePages: 0 },
    { zeroPages: 5000, uniquePages: 0, duplicatePages: 0 },
  ]);
});

test('equal pages are counted across blocks, the last content of a page counts', () => {
  const census = new PageCensus([4, 10_000]);
  census.record(0, 0, page(1));
  census.record(0, 1, page(1));
  census.record(0, 2, page(7));
  census.record(1, 9_999, page(1));
  census.record(1, 4_096, page(2));
  census.record(1, 5, page(3));
  census.recordZero(1, 5);
  census.record(0, 2, page());
  assert.deepEqual(census.count(), [
    { zeroPages: 2, uniquePages: 1, duplicatePages: 1 },
    { zeroPages: 9_998, uniquePages: 1, duplicatePages: 1 },
  ]);
});

test('pages that differ in a single bit or in two words of the same column are different', () => {
  const census = new PageCensus([32_768 + 65_536]);
  for (let bit = 0; bit < 32_768; bit++) {
    const content = new Uint8Array(4096);
    content[bit >>> 3] = 1 << (bit & 7);
    census.record(0, bit, content);
  }
  for (let i = 0; i < 65_536; i++) census.record(0, 32_768 + i, page(0, i & 0xff, 1, 1, 0, i >>> 8));
  assert.equal(census.count()[0]?.uniquePages, 32_768 + 65_536);
});

test('page data of any alignment gives the same hash', () => {
  const buffer = new Uint8Array(4096 + 3);
  buffer.set(page(5, 6, 7), 3);
  const census = new PageCensus([2]);
  census.record(0, 0, buffer.subarray(3));
  census.record(0, 1, page(5, 6, 7));
  assert.equal(census.count()[0]?.duplicatePages, 1);
});
