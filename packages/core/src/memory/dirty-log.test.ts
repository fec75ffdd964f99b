import assert from 'node:assert/strict';
import test from 'node:test';
import { DirtyBitmap } from './dirty-bitmap.ts';
import { openDirtyLog } from './dirty-log.ts';
import { RamBlock } from './ram-block.ts';

const blocks = [RamBlock.allocate('a', 40 * 4096), RamBlock.allocate('b', 8 * 4096)];

function writeBarrier() {
  const logs = blocks.map((block) => new DirtyBitmap(block.pageCount));
  const memory = { kind: 'write-barrier', bitmaps: logs.map((log) => log.buffer) } as const;
  return { logs, log: openDirtyLog(memory, blocks) };
}

test('a sync takes over the marks of one block and counts the new ones; they stay until they are cleared', () => {
  const { logs, log } = writeBarrier();
  logs[0]!.set(1);
  log.start();
  logs[0]!.set(2);
  logs[0]!.set(39);
  logs[1]!.set(7);
  const dirty = new DirtyBitmap(40);
  dirty.set(39);
  assert.equal(log.sync(0, dirty), 1);
  assert.equal(dirty.count(), 2);
  assert.equal(dirty.test(1), false, 'written before the start');
  assert.equal(log.sync(0, dirty), 0);
  dirty.testAndClear(2);
  assert.equal(log.sync(0, dirty), 1);
  logs[0]!.set(5);
  log.clear(0, 0, 32, dirty);
  dirty.testAndClear(2);
  dirty.testAndClear(39);
  assert.equal(log.sync(0, dirty), 2, 'page 5 was not in it, page 39 is outside');
  assert.deepEqual([dirty.test(2), dirty.test(5), dirty.test(39)], [false, true, true]);
  assert.equal(log.sync(1, new DirtyBitmap(8)), 1);
  assert.throws(() => log.sync(2, dirty), { code: 'internal' });
  log.stop();
});

test('a guest without a log has no dirty pages', () => {
  const log = openDirtyLog({ kind: 'none' }, blocks);
  log.start();
  const dirty = new DirtyBitmap(40);
  assert.equal(log.sync(0, dirty), 0);
  assert.equal(dirty.count(), 0);
});

test('a log needs a bitmap of the right size for each block', () => {
  const one = new DirtyBitmap(40).buffer;
  assert.throws(() => openDirtyLog({ kind: 'write-barrier', bitmaps: [one] }, blocks), {
    code: 'bad-option',
  });
  const small = new DirtyBitmap(8).buffer;
  assert.throws(() => openDirtyLog({ kind: 'write-barrier', bitmaps: [small, one] }, blocks), {
    code: 'bad-option',
  });
});
