import assert from 'node:assert/strict';
import test from 'node:test';
import { ByteQueue, need } from './byte-queue.ts';

const bytes = (from: number, count: number) => Uint8Array.from({ length: count }, (_, i) => from + i);

test('reads within a chunk are views, not copies', () => {
  const queue = new ByteQueue('main');
  const chunk = bytes(0, 100);
  queue.push(chunk);
  queue.skip(10);
  const view = queue.take(50);
  assert.equal(view.buffer, chunk.buffer);
  assert.equal(view.byteOffset, 10);
  assert.equal(queue.offset, 60);
  assert.equal(queue.available, 40);
});

test('a piece that spans chunks is joined, and what follows is a view again', () => {
  const queue = new ByteQueue('main');
  queue.push(bytes(0, 3));
  queue.push(bytes(3, 1));
  const last = bytes(4, 20);
  queue.push(last);
  assert.deepEqual(queue.take(6), bytes(0, 6));
  assert.deepEqual(queue.take(4), bytes(6, 4));
  assert.equal(queue.take(5).buffer, last.buffer);
  assert.equal(queue.available, 9);
});

test('after retain the chunk belongs to the caller again', () => {
  const queue = new ByteQueue('main');
  const chunk = bytes(0, 8);
  queue.push(chunk);
  queue.skip(5);
  queue.retain();
  chunk.fill(0xee);
  queue.push(bytes(8, 2));
  assert.deepEqual(queue.take(5), bytes(5, 5));
  assert.equal(queue.available, 0);
});

test('bytes pushed one at a time come out in order, however much is left unread', () => {
  const queue = new ByteQueue('main');
  const one = new Uint8Array(1);
  let read = 0;
  for (let i = 0; i < 50_000; i++) {
    one[0] = i;
    queue.push(one);
    queue.retain();
    // Reads lag behind by up to 20,000 bytes, so that the buffer grows and is compacted.
    if (i > 20_000) {
      assert.equal(queue.u8(), read & 0xff);
      read++;
      if (i % 3 === 0) assert.equal(queue.u8(), read++ & 0xff);
    }
  }
  assert.equal(queue.available, 50_000 - read);
  assert.equal(queue.offset, read);
});

test('big-endian numbers, also across chunks', () => {
  const queue = new ByteQueue('main');
  queue.push(Uint8Array.of(0x80, 0, 0));
  queue.push(Uint8Array.of(1, 0, 0x1f, 0xff, 0xff));
  queue.push(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 7));
  assert.equal(queue.peekU32(), 0x80000001);
  assert.equal(queue.u32(), 0x80000001);
  assert.equal(queue.u64('x'), Number.MAX_SAFE_INTEGER);
  assert.equal(queue.u8(), 7);
});

test('a be64 of 2^53 and above is refused', () => {
  const queue = new ByteQueue('multifd 3', 100);
  queue.push(Uint8Array.of(0, 0x20, 0, 0, 0, 0, 0, 0));
  assert.throws(() => queue.u64('the size'), {
    code: 'limit-exceeded',
    channel: 'multifd 3',
    offset: 100,
    message: /the size: found 0x20000000000000/,
  });
});

test('has remembers what is needed, so that ready is false until then', () => {
  const queue = new ByteQueue('main');
  assert.equal(queue.has(4), false);
  queue.push(bytes(0, 3));
  assert.equal(queue.ready, false);
  queue.push(bytes(3, 1));
  assert.equal(queue.ready, true);
  assert.equal(queue.has(5), false);
  assert.equal(queue.ready, false);
  queue.end();
  assert.equal(queue.ready, true);
});

test('need starves until the bytes are there, and is a truncation after the end', () => {
  const queue = new ByteQueue('main');
  const waiting = need(queue, 2, 'a header');
  assert.equal(waiting.next().done, false);
  queue.push(bytes(0, 2));
  assert.equal(waiting.next().done, true);
  queue.push(bytes(2, 1));
  queue.end();
  assert.throws(() => need(queue, 9, 'a header').next(), {
    code: 'truncated',
    channel: 'main',
    offset: 3,
    expected: 'a header',
  });
});

test('skipTo drops what is there and what is still to come', () => {
  const queue = new ByteQueue('file', 10);
  queue.push(bytes(10, 5));
  queue.skipTo(13);
  assert.equal(queue.wanted, undefined);
  assert.equal(queue.u8(), 13);
  queue.skipTo(30);
  assert.equal(queue.wanted, 30);
  assert.equal(queue.available, 0);
  // Contiguous bytes up to there are dropped, also those at the head of a chunk.
  queue.push(bytes(15, 10));
  assert.equal(queue.wanted, 30);
  queue.push(bytes(25, 10));
  assert.equal(queue.wanted, undefined);
  assert.deepEqual(queue.take(5), bytes(30, 5));
});

test('a reader with random access continues at wanted', () => {
  const queue = new ByteQueue('file');
  queue.push(bytes(0, 4));
  queue.skipTo(1000);
  queue.push(bytes(9, 3), queue.wanted);
  assert.deepEqual(queue.take(3), bytes(9, 3));
  assert.equal(queue.offset, 1003);
  queue.push(bytes(12, 1));
  assert.equal(queue.u8(), 12);
});

test('a truncation while skipping is at the last byte that came', () => {
  const queue = new ByteQueue('file');
  queue.push(bytes(0, 4));
  queue.skipTo(1000);
  assert.equal(queue.truncated('more').offset, 4);
});

test('pushes at a wrong place or after the end are defects', () => {
  const queue = new ByteQueue('file');
  queue.push(bytes(0, 4));
  assert.throws(() => queue.push(bytes(0, 4), 6), { code: 'internal' });
  assert.throws(() => queue.push(bytes(0, 4), 2), { code: 'internal' });
  queue.skipTo(20);
  assert.throws(() => queue.push(bytes(0, 4), 21), { code: 'internal' });
  assert.throws(() => queue.take(1), { code: 'internal' });
  queue.end();
  assert.throws(() => queue.push(bytes(0, 1)), { code: 'internal' });
});
