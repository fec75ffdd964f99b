import assert from 'node:assert/strict';
import test from 'node:test';
import { ChannelCells } from '../channels/channel-cells.ts';
import { PAGE_RING_BYTES, PageRing } from './page-ring.ts';

function rings() {
  const { buffer } = ChannelCells.create(PAGE_RING_BYTES);
  return [new PageRing(new ChannelCells(buffer)), new PageRing(new ChannelCells(buffer))] as const;
}

test('a job goes from the coordinator to the check to the write, in order and each step once', () => {
  const [coordinator, thread] = rings();
  assert.equal(thread.unchecked(), undefined);
  assert.ok(coordinator.push(3, Uint32Array.of(10, 11, 12), 3));
  assert.ok(coordinator.push(4, Uint32Array.of(20), 1));
  assert.equal(coordinator.length, 2);
  assert.equal(thread.checked(), undefined, 'nothing is written unchecked');
  const first = thread.unchecked()!;
  assert.deepEqual([first.block, first.count, ...first.pages.subarray(0, 3)], [3, 3, 10, 11, 12]);
  first.pages[1] = 12;
  first.setChecked(2, 1);
  thread.setChecked();
  assert.equal(thread.unchecked()!.block, 4);
  const written = coordinator.checked()!;
  assert.deepEqual([written.count, written.zeroPages, ...written.pages.subarray(0, 2)], [2, 1, 10, 12]);
  coordinator.shift();
  assert.equal(coordinator.checked(), undefined);
  assert.equal(coordinator.length, 1);
});

test('a full ring takes nothing, and tells once when half of it is free', () => {
  const [coordinator, thread] = rings();
  let pushed = 0;
  while (coordinator.push(pushed, Uint32Array.of(pushed), 1)) pushed++;
  assert.equal(pushed, 32);
  assert.ok(!coordinator.pushEnd());
  assert.ok(!coordinator.hasRoom);
  const told: number[] = [];
  for (let i = 0; i < 32; i++) {
    assert.equal(thread.unchecked()!.pages[0], i);
    thread.setChecked();
    assert.equal(thread.checked()!.block, i);
    if (thread.shift()) told.push(coordinator.length);
  }
  assert.deepEqual(told, [16]);
  assert.ok(coordinator.pushEnd());
  assert.ok(thread.unchecked()!.isEnd);
});

test('the counts of jobs may wrap', () => {
  const [coordinator, thread] = rings();
  // Just below 2^31, as after 64 TiB of pages.
  const start = 2 ** 31 - 5;
  const { words } = coordinator.cells;
  words[2] = start;
  words[3] = start;
  new Int32Array(coordinator.cells.buffer, 128, 1)[0] = start;
  for (let i = 0; i < 10; i++) {
    assert.ok(coordinator.push(0, Uint32Array.of(i), 1));
    assert.equal(thread.unchecked()!.pages[0], i);
    thread.setChecked();
    assert.equal(thread.checked()!.pages[0], i);
    thread.shift();
    assert.equal(coordinator.length, 0);
  }
});
