import assert from 'node:assert/strict';
import test from 'node:test';
import { DirtyBitmap } from '../memory/dirty-bitmap.ts';
import { RamBlock, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { RamIteration } from './ram-iteration.ts';

/** A guest whose pages are numbers, and the copy that a migration makes of it. */
function setUp(pageCounts: readonly number[], shift: number) {
  const blocks = pageCounts.map((pages, index) => RamBlock.allocate(`b${index}`, pages * TARGET_PAGE_BYTES));
  const logs = blocks.map((block) => new DirtyBitmap(block.pageCount));
  const memory = {
    blocks: blocks.map((block) => block.toMemory()),
    dirtyLog: { kind: 'write-barrier', bitmaps: logs.map(({ buffer }) => buffer) },
  } as const;
  const passes: number[] = [];
  const ram = new RamIteration(memory, (pass) => passes.push(pass), false, shift);
  const guest = pageCounts.map((pages) => new Uint32Array(pages));
  const copy = pageCounts.map((pages) => new Uint32Array(pages).fill(9999));
  const batch = new Uint32Array(16);
  return {
    ram,
    guest,
    copy,
    passes,
    write(block: number, page: number): void {
      guest[block]![page]!++;
      logs[block]!.set(page);
    },
    /** Sends up to `most` pages; 0: the scan has come to its end. */
    send(most: number): number {
      const count = ram.next(batch, most);
      for (const page of batch.subarray(0, count))
        copy[ram.blockIndex]![page] = guest[ram.blockIndex]![page]!;
      return count;
    },
  };
}

for (const shift of [6, 7, 18]) {
  test(`no write is lost, whenever it happens: chunks of 2^${shift} pages`, () => {
    for (let round = 0; round < 60; round++) {
      const parts = setUp([300, 64, 1, 130], shift);
      const { ram, guest, copy } = parts;
      const random = (below: number) => Math.floor(Math.random() * below);
      ram.start();
      for (let step = 0; step < 600; step++) {
        const what = random(20);
        const block = random(guest.length);
        if (what < 12) parts.write(block, random(guest[block]!.length));
        else if (what < 19) parts.send(1 + random(16));
        else ram.sync();
      }
      ram.sync();
      while (ram.dirtyPages > 0) parts.send(16);
      assert.deepEqual(copy, guest);
      assert.equal(ram.sync(), 0, 'nothing was written since');
    }
  });
}

test('what is written again before the turn of its chunk is sent once', () => {
  const { ram, write, send } = setUp([256], 6);
  ram.start();
  while (send(16) > 0);
  for (const page of [10, 100, 200]) write(0, page);
  assert.equal(ram.sync(), 3);
  for (const page of [10, 11, 100, 200]) write(0, page);
  assert.equal(send(16), 1, 'a run ends with its chunk');
  for (const page of [10, 100, 200]) write(0, page);
  while (send(16) > 0);
  // 10: written after its chunk's turn; 11 was not dirty at the sync. Of 100 and 200 the last write was sent.
  assert.equal(ram.sync(), 2);
  assert.equal(send(16), 2);
});

test('syncs are counted and told', () => {
  const { ram, passes, write } = setUp([100, 50], 18);
  ram.start();
  assert.equal(ram.dirtyPages, 150);
  write(1, 7);
  assert.equal(ram.sync(), 0);
  assert.deepEqual(passes, [1, 2]);
  assert.equal(ram.dirtySyncCount, 2);
});
