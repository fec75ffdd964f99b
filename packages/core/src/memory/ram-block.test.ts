import assert from 'node:assert/strict';
import test from 'node:test';
import { RamBlock } from './ram-block.ts';

test('a block of 5 GiB is addressed to its last byte', () => {
  const block = RamBlock.allocate('pc.ram', 5 * 2 ** 30);
  block.bytes[block.usedLengthBytes - 1] = 7;
  assert.equal(new Uint8Array(block.buffer, block.usedLengthBytes - 1)[0], 7);
  assert.equal(block.pageCount, 5 * 2 ** 18);
  const same = new RamBlock(block.toMemory());
  assert.equal(same.bytes.at(-1), 7);
});

test('a block lies page-aligned within its buffer and has a name', () => {
  const buffer = new SharedArrayBuffer(3 * 4096);
  const memory = { idstr: 'x', usedLengthBytes: 4096, pageSizeBytes: 4096, buffer, byteOffset: 8192 };
  const block = new RamBlock(memory);
  block.bytes[0] = 9;
  assert.equal(new Uint8Array(buffer)[8192], 9);
  for (const wrong of [
    { byteOffset: 12288 },
    { byteOffset: 100 },
    { usedLengthBytes: 8192 },
    { usedLengthBytes: 100 },
    { idstr: '' },
    { idstr: 'é'.repeat(128) },
  ]) {
    assert.throws(() => new RamBlock({ ...memory, ...wrong }), { code: 'bad-option' });
  }
});
