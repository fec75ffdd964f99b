import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { HIGH_WATER_BYTES, WriteQueue } from './write-queue.ts';

/** A sink that keeps its batches until the test says that they are done. */
function heldSink() {
  const batches: { bytes: number; pieces: readonly Uint8Array[]; done: (error?: Error | null) => void }[] =
    [];
  const queue = new WriteQueue((pieces, done) => {
    batches.push({ bytes: pieces.reduce((sum, piece) => sum + piece.byteLength, 0), pieces, done });
  });
  return { queue, batches };
}

async function isPending(promise: Promise<unknown>): Promise<boolean> {
  await turn();
  return (await Promise.race([promise, Promise.resolve('pending')])) === 'pending';
}

test('what is written in one go becomes one batch, without a copy', async () => {
  const { queue, batches } = heldSink();
  const pieces = [new Uint8Array([1, 2]), new Uint8Array(0), new Uint8Array(new SharedArrayBuffer(3))];
  for (const piece of pieces) assert.equal(queue.write(piece), true);
  assert.equal(queue.queuedBytes, 5);
  await turn();
  assert.equal(batches.length, 1);
  assert.deepEqual(batches[0]?.pieces, [pieces[0], pieces[2]]);
  assert.equal(batches[0]?.pieces[1], pieces[2]);
  const flushed = queue.flushed();
  assert.ok(await isPending(flushed));
  batches[0]?.done();
  await flushed;
  assert.equal(queue.writtenBytes, 5);
  assert.equal(queue.queuedBytes, 0);
});

test('above the high-water mark write says false until less is queued', async () => {
  const { queue, batches } = heldSink();
  assert.equal(queue.write(new Uint8Array(HIGH_WATER_BYTES - 1)), true);
  await queue.drained();
  assert.equal(queue.write(new Uint8Array(1)), false);
  const drained = queue.drained();
  assert.ok(await isPending(drained));
  batches[0]?.done();
  await drained;
  assert.ok(queue.queuedBytes > 0);
});

test('flushed waits for what was written before it, not after', async () => {
  const { queue, batches } = heldSink();
  queue.write(new Uint8Array(10));
  await turn();
  const flushed = queue.flushed();
  queue.write(new Uint8Array(10));
  batches[0]?.done();
  await flushed;
  await turn();
  assert.equal(batches.length, 2);
});

test('a piece of any size goes in steps and arrives whole', async () => {
  const out: number[] = [];
  const queue = new WriteQueue((pieces, done) => {
    for (const piece of pieces) out.push(piece.byteLength, piece[0]!, piece.at(-1)!);
    done();
  });
  const large = new Uint8Array(3 * HIGH_WATER_BYTES + 5).fill(7);
  queue.write(new Uint8Array([1]));
  queue.write(large);
  await queue.flushed();
  assert.equal(queue.writtenBytes, large.byteLength + 1);
  const lengths = out.filter((_, index) => index % 3 === 0);
  assert.equal(
    lengths.reduce((a, b) => a + b, 0),
    large.byteLength + 1,
  );
  assert.ok(lengths.every((length) => length <= HIGH_WATER_BYTES / 2));
});

test('a sink that takes everything at once still lets the event loop turn', async () => {
  const queue = new WriteQueue((_, done) => done());
  const piece = new Uint8Array(64 * 1024);
  let turned = 0;
  setImmediate(() => {
    turned = queue.writtenBytes;
  });
  while (turned === 0 && queue.writtenBytes < 64 * HIGH_WATER_BYTES) {
    if (!queue.write(piece)) await queue.drained();
  }
  assert.ok(turned > 0 && turned <= 8 * HIGH_WATER_BYTES, `turned after ${turned}`);
});

test('after a failure nothing is written and every waiter gets it', async () => {
  const { queue, batches } = heldSink();
  queue.write(new Uint8Array(2 * HIGH_WATER_BYTES));
  await turn();
  const failure = new Error('gone');
  const waiting = [queue.drained(), queue.flushed()];
  queue.fail(failure);
  queue.fail(new Error('second'));
  batches[0]?.done();
  for (const promise of [...waiting, queue.drained(), queue.flushed()])
    await assert.rejects(promise, failure);
  assert.equal(queue.write(new Uint8Array(1)), false);
  await turn();
  assert.equal(batches.length, 1);
});
