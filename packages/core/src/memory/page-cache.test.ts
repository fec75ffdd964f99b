import assert from 'node:assert/strict';
import test from 'node:test';
import { PageCache } from './page-cache.ts';

test('a page is found where it was put, with its content', () => {
  const cache = new PageCache(16 * 4096);
  assert.ok(!cache.find(3, 1));
  for (let page = 0; page < 16; page++) {
    assert.ok(cache.claim(page, 1));
    cache.bytes.fill(page + 1, cache.at, cache.at + 4096);
  }
  for (let page = 0; page < 16; page++) {
    assert.ok(cache.find(page, 2));
    assert.deepEqual([cache.bytes[cache.at], cache.bytes[cache.at + 4095]], [page + 1, page + 1]);
    assert.equal(new Uint8Array(cache.words.buffer)[cache.at], page + 1, 'the words are the same memory');
    assert.ok(!cache.find(page + 16, 2));
  }
});

test('a page gives its slot up when nobody has looked for it for two syncs', () => {
  const cache = new PageCache(8 * 4096);
  assert.ok(cache.claim(5, 10));
  assert.ok(!cache.claim(5 + 8, 10));
  assert.ok(!cache.claim(5 + 8, 11));
  assert.ok(cache.find(5, 11), 'which makes it young again');
  assert.ok(!cache.claim(5 + 8, 12));
  assert.ok(cache.find(5, 11));
  assert.ok(cache.claim(5 + 8, 13));
  assert.ok(!cache.find(5, 13));
  assert.ok(cache.find(5 + 8, 13));
  assert.ok(!cache.claim(5, 14));
  assert.ok(cache.claim(5, 15));
});

test('a page may always take its own slot again', () => {
  const cache = new PageCache(8 * 4096);
  assert.ok(cache.claim(2, 1));
  assert.ok(cache.claim(2, 1));
  assert.ok(cache.find(2, 1));
});

test('a cache of one page, and page 0', () => {
  const cache = new PageCache(4096);
  assert.ok(!cache.find(0, 1), 'an empty slot is not page 0');
  assert.ok(cache.claim(0, 1));
  assert.ok(cache.find(0, 1));
  assert.ok(!cache.claim(1, 2));
  assert.ok(cache.claim(2 ** 40 + 1, 3));
  assert.ok(cache.find(2 ** 40 + 1, 3));
});

test('memory is taken only for what is used, and none is needed for a huge cache', () => {
  const before = process.memoryUsage().arrayBuffers;
  const cache = new PageCache(2 ** 50);
  assert.ok(cache.claim(2 ** 38 - 1, 1));
  assert.ok(cache.claim(2 ** 38 - 2, 1));
  assert.ok(cache.find(2 ** 38 - 1, 1));
  assert.ok(process.memoryUsage().arrayBuffers - before < 5 * 2 ** 20);
});
