import assert from 'node:assert/strict';
import test from 'node:test';
import { encodeMappedRamEntry, layOutMappedRam } from './mapped-ram-layout.ts';

const MIB = 2 ** 20;
/** A name of one byte: 10 bytes of entry, then 28 of header. */
const block = (usedLengthBytes: number) => ({ idstr: 'x', usedLengthBytes });

test('blocks are laid out as QEMU 10.0 does: 16 MiB whose header starts at byte 114', () => {
  const blocks = [
    { idstr: 'pc.ram', usedLengthBytes: 16 * MIB },
    { idstr: 'pc.bios', usedLengthBytes: 128 * 1024 },
  ];
  const places = layOutMappedRam(blocks, 114 - 15);
  assert.deepEqual(places[0], {
    entryOffset: 99,
    bitmapOffset: 0x8e,
    pagesOffset: MIB,
    endOffset: 17 * MIB,
  });
  assert.deepEqual(places[1], {
    entryOffset: 17 * MIB,
    bitmapOffset: 17 * MIB + 16 + 28,
    pagesOffset: 18 * MIB,
    endOffset: 18 * MIB + 128 * 1024,
  });
});

test('a bitmap that ends on the alignment leaves no hole', () => {
  const pagesOffset = (headerOffset: number) =>
    layOutMappedRam([block(64 * 4096)], headerOffset - 10)[0]!.pagesOffset;
  assert.equal(pagesOffset(MIB - 28 - 8), MIB);
  assert.equal(pagesOffset(MIB - 28 - 7), 2 * MIB);
});

test('an entry with its header reaches exactly to the bitmap', () => {
  const [place] = layOutMappedRam([block(4096)], 1234);
  const bytes = encodeMappedRamEntry(block(4096), place!);
  assert.equal(place!.entryOffset + bytes.length, place!.bitmapOffset);
  assert.deepEqual(
    Buffer.from(bytes).toString('hex'),
    // Name, used length; version, page size, bitmap offset, pages offset.
    `0178${'0000000000001000'}${'00000001'}${'0000000000001000'}${'00000000000004f8'}${'0000000000100000'}`,
  );
});
