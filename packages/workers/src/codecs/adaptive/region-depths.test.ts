import assert from 'node:assert/strict';
import test from 'node:test';
import { RegionDepths } from './region-depths.ts';

const PACKET = 128;

test('what was found in a region is expected there again, elsewhere what was found last', () => {
  const regions = new RegionDepths(1);
  assert.equal(regions.expect(0, 0), 1);
  for (let i = 0; i < 30; i++) regions.learn(0, i * PACKET, 0);
  for (let i = 30; i < 60; i++) regions.learn(0, i * PACKET, 2);
  assert.equal(regions.expect(0, 5), 0);
  assert.equal(regions.expect(0, 29 * PACKET + 127), 0);
  assert.equal(regions.expect(0, 30 * PACKET), 2);
  assert.ok(regions.expect(0, 1000 * PACKET) > 1.9, 'like the packets just before');
  assert.ok(regions.expect(3, 0) > 1.9);
});

test('a region that changed is believed after a few packets', () => {
  const regions = new RegionDepths(1);
  regions.learn(1, 0, 0);
  for (let i = 0; i < 4; i++) regions.learn(1, 64, 1);
  assert.ok(regions.expect(1, 0) > 0.9);
});

test('pages that are sent untried make the last ones matter less', () => {
  const regions = new RegionDepths(1);
  for (let i = 0; i < 20; i++) regions.learn(0, i * PACKET, 0);
  assert.ok(regions.expect(2, 0) < 0.05);
  for (let i = 0; i < 60; i++) regions.forget(1);
  assert.ok(regions.expect(2, 0) > 0.9);
  assert.equal(regions.expect(0, 0), 0, 'what is known stays');
});

test('depths are kept within their byte, and blocks in any order', () => {
  const regions = new RegionDepths(1);
  regions.learn(2, 0, 99);
  assert.equal(regions.expect(2, 0), 5);
  regions.learn(0, 2 ** 31, 0.5);
  assert.equal(regions.expect(0, 2 ** 31 + 100), 0.5);
  assert.equal(regions.expect(2, 0), 5);
});
