import assert from 'node:assert/strict';
import test from 'node:test';
import { ClearBitmap } from './clear-bitmap.ts';
import { ReceivedBitmap } from './received-bitmap.ts';

test('each chunk of the clear bitmap is taken once after each mark', () => {
  const clear = new ClearBitmap(1000, 6);
  assert.equal(clear.takeChunk(0), undefined);
  clear.markAll();
  assert.deepEqual(clear.takeChunk(65), { first: 64, count: 64 });
  assert.equal(clear.takeChunk(64), undefined);
  assert.equal(clear.takeChunk(127), undefined);
  assert.deepEqual(clear.takeChunk(128), { first: 128, count: 64 });
  assert.deepEqual(clear.takeChunk(999), { first: 960, count: 40 });
  clear.markAll();
  assert.deepEqual(clear.takeChunk(127), { first: 64, count: 64 });
});

test('the chunks of the clear bitmap cover every page once', () => {
  for (const shift of [6, 7, 18, 31]) {
    const pageCount = 300_001;
    const clear = new ClearBitmap(pageCount, shift);
    clear.markAll();
    let next = 0;
    for (let page = 0; page < pageCount; page += 64) {
      const chunk = clear.takeChunk(page);
      if (chunk === undefined) continue;
      assert.equal(chunk.first, next);
      next += chunk.count;
    }
    assert.equal(next, pageCount);
  }
});

test('the shift of the clear bitmap is 6 to 31', () => {
  assert.equal(new ClearBitmap(10).shift, 18);
  for (const shift of [5, 32, 6.5, Number.NaN]) {
    assert.throws(() => new ClearBitmap(10, shift), { code: 'bad-option' });
  }
  const clear = new ClearBitmap(64, 6);
  assert.throws(() => clear.takeChunk(64), { code: 'bad-page' });
});

test('the received bitmap knows what is missing', () => {
  const received = new ReceivedBitmap(100);
  assert.equal(received.mark(5), true);
  assert.equal(received.mark(5), false);
  received.markRange(0, 90);
  assert.equal(received.count(), 90);
  assert.equal(received.nextMissing(0), 90);
  assert.equal(received.discardRange(10, 20), 20);
  assert.equal(received.nextMissing(0), 10);
  assert.equal(received.has(29), false);
  assert.equal(received.has(30), true);
  const shared = new ReceivedBitmap(100, received.buffer);
  shared.markRange(0, 100);
  assert.equal(received.nextMissing(0), -1);
  assert.equal(received.pageCount, 100);
});
