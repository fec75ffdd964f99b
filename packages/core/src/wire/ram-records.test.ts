import assert from 'node:assert/strict';
import test from 'node:test';
import { hex } from '../testing/wire-streams.ts';
import { RamFlag } from './messages.ts';
import {
  encodeEos,
  encodeMappedRamHeader,
  encodeMultifdFlush,
  encodePageHeader,
  encodeRamBlockEntry,
  encodeRamBlocks,
  encodeRamWord,
  mappedRamBitmapBytes,
  ramWord,
} from './ram-records.ts';
import { encodeCountedString } from './text.ts';

test('RAM words', () => {
  assert.deepEqual(encodeEos(), hex('0000000000000010'));
  assert.deepEqual(encodeMultifdFlush(), hex('0000000000000200'));
  assert.deepEqual(encodeRamWord(0x8040000, RamFlag.memSize), hex('0000000008040004'));
  // Offsets above 2^31 and 2^32: the words are unsigned.
  assert.deepEqual(encodeRamWord(0xfffff000, RamFlag.page), hex('00000000fffff008'));
  assert.deepEqual(encodeRamWord(0x12_8000_0000, RamFlag.zero), hex('0000001280000002'));
  const view = new DataView(new ArrayBuffer(10));
  ramWord(view, 1, 2 ** 53 - 4096, RamFlag.eos);
  assert.deepEqual(new Uint8Array(view.buffer), hex('00 001ffffffffff010 00'));
});

test('page headers, with a name and continued', () => {
  const target = new Uint8Array(64).fill(0xee);
  const name = encodeCountedString('pc.ram');
  const end = encodePageHeader(target, 1, name, 1, RamFlag.zero);
  assert.equal(end, 1 + 8 + 7);
  assert.deepEqual(target.subarray(0, end), hex('ee 0000000000001002 06 70632e72616d'));
  assert.equal(encodePageHeader(target, 20, undefined, 2, RamFlag.page), 28);
  assert.deepEqual(target.subarray(20, 29), hex('0000000000002028 ee'));
  // Page 2^32 + 2^20 - 1, at a byte offset above 2^44.
  encodePageHeader(target, 0, undefined, 2 ** 32 + 2 ** 20 - 1, RamFlag.page);
  assert.deepEqual(target.subarray(0, 8), hex('0000 1000 ffff f028'));
});

test('the block list', () => {
  const blocks = [
    { idstr: 'pc.ram', usedLengthBytes: 0x8000000 },
    { idstr: 'pc.bios', usedLengthBytes: 0x40000 },
  ];
  assert.deepEqual(
    encodeRamBlocks(0x8040000, blocks),
    hex(`0000000008040004
      06 70632e72616d   0000000008000000
      07 70632e62696f73 0000000000040000`),
  );
  assert.deepEqual(
    encodeRamBlockEntry({ idstr: 'a', usedLengthBytes: 2 ** 40 + 4096 }),
    hex('01 61 0000010000001000'),
  );
});

test('the header of a block in a mapped-ram file', () => {
  const header = { version: 1, pageSizeBytes: 4096, bitmapOffset: 142, pagesOffset: 0x100000 };
  assert.deepEqual(
    encodeMappedRamHeader(header),
    hex('00000001 0000000000001000 000000000000008e 0000000000100000'),
  );
  assert.equal(mappedRamBitmapBytes(4096), 8);
  assert.equal(mappedRamBitmapBytes(64 * 4096), 8);
  assert.equal(mappedRamBitmapBytes(65 * 4096), 16);
  assert.equal(mappedRamBitmapBytes(2 ** 40), 2 ** 25);
});
