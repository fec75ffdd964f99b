import assert from 'node:assert/strict';
import test from 'node:test';
import { linearScale, linearTicks, logScale, logTicks, spanOf, timeTicks, widen, widenLog } from './scale.ts';

test('spans leave out what has no place on an axis', () => {
  assert.deepEqual(spanOf([3, Number.NaN, 1, Number.POSITIVE_INFINITY, 0, -2]), [1, 3]);
  assert.equal(spanOf([0, Number.NaN]), undefined);
  assert.deepEqual(widen([2, 2], 0.1, 0.5), [1.5, 2.5]);
  assert.deepEqual(widenLog([8, 8], 0.1, 2), [4, 16]);
});

test('scales meet both ends and keep what is outside on the edge', () => {
  const linear = linearScale([1, 3], [0, 100], []);
  assert.deepEqual([0, 1, 2, 3, 9].map(linear.at), [0, 0, 50, 100, 100]);
  const log = logScale([1, 100], [200, 0], [0.5, 1, 10, 1000]);
  assert.deepEqual([0, 1, 10, 100, 1e9].map(log.at), [200, 200, 100, 0, 0]);
  assert.deepEqual(log.ticks, [1, 10]);
});

test('ticks are round, inside, and no more than there is room for', () => {
  assert.deepEqual(linearTicks([0.9, 2.85], 10), [1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.4, 2.6, 2.8]);
  assert.deepEqual(logTicks([2, 900], 11), [2, 5, 10, 20, 50, 100, 200, 500]);
  assert.deepEqual(logTicks([2, 900], 6), [3, 10, 30, 100, 300]);
  assert.deepEqual(logTicks([1, 1e6], 4), [1, 100, 10_000, 1_000_000]);
  assert.deepEqual(
    timeTicks([400, 150_000], 10),
    [500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000],
  );
  assert.deepEqual(timeTicks([400, 150_000], 6), [1000, 10_000, 60_000]);
});
