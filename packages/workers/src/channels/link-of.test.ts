import assert from 'node:assert/strict';
import test from 'node:test';
import { linkOf } from './link-of.ts';
import { PoolWords } from './pool-words.ts';

test('a channel with and without word from the kernel sees each change of the limit', () => {
  const words = new PoolWords();
  const coordinator = new PoolWords(words.buffer);
  for (const link of [linkOf(words, 2), linkOf(words, 2, () => true)]) {
    coordinator.limitBytesPerMs = 1000;
    assert.equal(link.limitBytesPerMs, 1000);
    coordinator.limitBytesPerMs = 125_000;
    assert.equal(link.limitBytesPerMs, 125_000);
    coordinator.limitBytesPerMs = undefined;
    assert.equal(link.limitBytesPerMs, undefined);
  }
});

test('all channels have one price, and what each moves it counts', () => {
  const words = new PoolWords();
  const [a, b] = [linkOf(words, 2), linkOf(new PoolWords(words.buffer), 2)] as const;
  assert.equal(a.price.position, undefined);
  b.price.position = 0;
  assert.equal(a.price.position, 0);
  a.price.move(-0.5);
  a.price.move(0.5);
  assert.equal(b.price.position, 0, 'known, at the place that is 0');
  a.price.move(1.5);
  b.price.move(-0.25);
  assert.ok(Math.abs(a.price.position! - 1.25) < 1e-4);
  assert.equal(a.price.position, b.price.position);
});

test('bytes that any channel has sent are counted for all', () => {
  const words = new PoolWords();
  const [a, b] = [linkOf(words, 2), linkOf(new PoolWords(words.buffer), 2)] as const;
  words.countSent(4096);
  assert.equal(a.sentBytes(), 4096);
  assert.equal(b.sentBytes(), 4096);
});
