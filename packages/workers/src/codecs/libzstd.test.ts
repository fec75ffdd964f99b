import assert from 'node:assert/strict';
import test from 'node:test';
import { constants, zstdCompressSync } from 'node:zlib';
import { loadLibZstd } from '../system/libzstd.ts';
import { createFrameCompressor, createFrameDecompressor } from './libzstd.ts';
import { createZstdCompressor, createZstdDecompressor } from './minizlib.ts';

const library = await loadLibZstd();
const skip = library === undefined ? 'no libzstd on this platform' : false;
const PLACE = { channel: 'multifd 0', offset: 64 };

function packet(pages: number, seed: number): Buffer {
  const bytes = Buffer.alloc(pages * 4096);
  let state = seed;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = (i >> 14) % 3 === 1 ? state >>> 24 : 97 + (state >>> 29);
  }
  return bytes;
}

test('a frame per packet is read by node:zlib and by itself, at every level', { skip }, () => {
  const target = new Uint8Array(1 << 20);
  for (const level of [0, 1, 3, 9, 20]) {
    const compressor = createFrameCompressor(library!, level);
    const own = createFrameDecompressor(library!);
    const other = createZstdDecompressor();
    for (const pages of [1, 128, 7]) {
      const bytes = packet(pages, level + pages);
      const payload = Buffer.from(compressor.compress(bytes, target));
      assert.ok(payload.length < bytes.length);
      for (const reader of [own, other]) {
        assert.ok(bytes.equals(reader.decompress(payload, bytes.length, PLACE)));
      }
    }
    for (const codec of [compressor, own, other]) codec.close();
  }
});

test('endless frames, frames of pages, and whole frames in any order', { skip }, () => {
  const endless = createZstdCompressor(1);
  const reader = createFrameDecompressor(library!);
  const target = new Uint8Array(1 << 20);
  const read = (payload: Uint8Array, bytes: Buffer) =>
    assert.ok(bytes.equals(reader.decompress(payload, bytes.length, PLACE)));
  const whole = packet(5, 1);
  read(zstdCompressSync(whole), whole);
  const pages = [packet(1, 2), packet(1, 3)];
  read(Buffer.concat(pages.map((page) => zstdCompressSync(page))), Buffer.concat(pages));
  const noSize = { params: { [constants.ZSTD_c_contentSizeFlag]: 0 } };
  read(zstdCompressSync(whole, noSize), whole);
  for (let i = 0; i < 5; i++) {
    const bytes = packet(64, i);
    read(Buffer.from(endless.compress(bytes, target) as Uint8Array), bytes);
  }
  endless.close();
  reader.close();
});

test('a payload that is not exactly its pages is refused', { skip }, () => {
  const bytes = packet(4, 9);
  const frame = zstdCompressSync(bytes);
  const bad: [string, Uint8Array][] = [
    ['more than its pages', zstdCompressSync(packet(5, 9))],
    ['less than its pages', zstdCompressSync(packet(3, 9))],
    ['cut', frame.subarray(0, frame.length - 3)],
    ['nothing', new Uint8Array(0)],
    ['garbage', Buffer.alloc(100, 0x5a)],
    ['a byte too many', Buffer.concat([frame, Buffer.of(0)])],
    ['a reserved bit in the frame header', Buffer.from(frame).fill(frame[4]! | 8, 4, 5)],
  ];
  for (const [what, payload] of bad) {
    const reader = createFrameDecompressor(library!);
    assert.throws(
      () => reader.decompress(payload, bytes.length, PLACE),
      { code: 'bad-compressed-data', channel: 'multifd 0', offset: 64 },
      what,
    );
    reader.close();
  }
});
