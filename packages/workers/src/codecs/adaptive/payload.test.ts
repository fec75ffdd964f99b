import assert from 'node:assert/strict';
import test from 'node:test';
import { deflateSync, zstdCompressSync } from 'node:zlib';
import { MigrationError } from '@pageferry/core';
import { loadLibZstd } from '../../system/libzstd.ts';
import type { PageCompressor, PageDecompressor } from '../codec.ts';
import { PACKET_PAGES_BYTES } from '../codec.ts';
import { createFrameCompressor } from '../libzstd.ts';
import { createLz4Compressor } from '../lz4.ts';
import { createZstdCompressor } from '../minizlib.ts';
import { createAdaptiveDecompressor } from './decompressor.ts';
import { bodyOf, framePayload, openPayload, PayloadCodec, ZSTD_STREAMS } from './payload.ts';

const PLACE = { channel: 'multifd 1', offset: 4096 };
const PAGE = 4096;
const library = await loadLibZstd();
assert.ok(library, 'these tests run where there is a libzstd');
const DECOMPRESSORS: [string, () => PageDecompressor][] = [
  ['minizlib', () => createAdaptiveDecompressor()],
  ['libzstd', () => createAdaptiveDecompressor(library)],
];

const TARGET = new Uint8Array(PACKET_PAGES_BYTES);

/** A payload of its own memory. */
function payloadOf(codec: number, compressor: PageCompressor, pages: Uint8Array): Uint8Array {
  const target = new Uint8Array(1 << 20);
  const body = compressor.compress(pages, bodyOf(target)) as Uint8Array;
  return Uint8Array.from(framePayload(codec, body.length, pages.length, target));
}

function text(pages: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(pages * PAGE);
  let state = seed;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = 97 + ((state >>> 28) % 8);
  }
  return bytes;
}

function noise(bytes: number, seed: number): Uint8Array {
  const made = new Uint8Array(bytes);
  let state = seed;
  for (let i = 0; i < bytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    made[i] = state >>> 24;
  }
  return made;
}

function refuses(decompressor: PageDecompressor, payload: Uint8Array, bytes: number, message: RegExp): void {
  // As a channel does: to where the pages belong, or where that is not taken, apart.
  assert.throws(
    () =>
      decompressor.decompressTo!(payload, TARGET.subarray(0, bytes), PLACE) ||
      decompressor.decompress(payload, bytes, PLACE),
    (error: unknown) => {
      assert.ok(error instanceof MigrationError, String(error));
      const { code, channel, offset } = error;
      assert.deepEqual({ code, channel, offset }, { code: 'bad-compressed-data', ...PLACE });
      assert.match(error.message, message);
      return true;
    },
  );
}

for (const [name, create] of DECOMPRESSORS) {
  test(`${name}: any packet of any codec, in any order; each zstd stream goes on where it was`, () => {
    const compressors = new Map<number, PageCompressor>([[PayloadCodec.lz4, createLz4Compressor()]]);
    for (let stream = 0; stream < ZSTD_STREAMS; stream++) {
      const compressor =
        stream % 2 === 0 ? createZstdCompressor(1 + stream) : createFrameCompressor(library, stream);
      compressors.set(PayloadCodec.zstd + stream, compressor);
    }
    const codecs = [...compressors.keys(), 0];
    const decompressor = create();
    const sizes = new Map<number, number[]>();
    let inPlace = 0;
    for (let packet = 0; packet < 60; packet++) {
      const codec = codecs[(packet * 7 + (packet >> 3)) % codecs.length]!;
      const pages = text(1 + ((packet * 37) % 128), 1 + (packet % 3));
      const payload = codec === 0 ? pages : payloadOf(codec, compressors.get(codec)!, pages);
      assert.equal(codec === 0 || payload[0] === codec, true);
      // To where the pages belong, if it takes this payload so.
      const target = new Uint8Array(pages.length);
      const isInPlace = packet % 3 > 0 && decompressor.decompressTo!(payload, target, PLACE);
      if (isInPlace) inPlace++;
      else assert.ok(target.every((byte) => byte === 0));
      const got = isInPlace ? target : decompressor.decompress(payload, pages.length, PLACE);
      assert.equal(Buffer.compare(got, pages), 0, `packet ${packet} of codec ${codec}`);
      sizes.set(codec, [...(sizes.get(codec) ?? []), payload.length / pages.length]);
    }
    assert.equal(sizes.size, 2 + ZSTD_STREAMS);
    assert.equal(inPlace > 0, name === 'libzstd');
    for (const compressor of compressors.values()) compressor.close();
    decompressor.close();
  });

  test(`${name}: hostile payloads are refused with their place`, () => {
    const pages = text(4, 1);
    const zstd = payloadOf(PayloadCodec.zstd, createZstdCompressor(1), pages);
    const lz4 = payloadOf(PayloadCodec.lz4, createLz4Compressor(), pages);
    const bomb = Buffer.concat([Uint8Array.of(PayloadCodec.zstd), zstdCompressSync(new Uint8Array(8 << 20))]);
    const as = (codec: number, payload: Uint8Array) => Uint8Array.of(codec, ...payload.subarray(1));
    const cases: [string, Uint8Array, number, RegExp][] = [
      ['nothing', new Uint8Array(0), 4 * PAGE, /too short/],
      ['a head alone', zstd.subarray(0, 1), 4 * PAGE, /too short/],
      ['a head and its padding', Uint8Array.of(0x82, 0), 4 * PAGE, /too short/],
      ['codec 0', as(0, zstd), 4 * PAGE, /codec that is not known/],
      ['a codec behind the last', as(6, zstd), 4 * PAGE, /codec that is not known/],
      ['the highest codec', as(0x7f, zstd), 4 * PAGE, /codec that is not known/],
      ['padding that is not zero', as(0x82, zstd), 4 * PAGE, /is not zero/],
      ['a byte of the body cut', zstd.subarray(0, zstd.length - 1), 4 * PAGE, /ends too early|cannot read/],
      ['a block too many', Uint8Array.of(...zstd, 2, 64, 0, 7), 4 * PAGE, /more than|cannot read/],
      ['fewer pages', zstd, 3 * PAGE, /more than|cannot read/],
      ['more pages', zstd, 5 * PAGE, /ends too early/],
      ['zstd that is lz4', as(PayloadCodec.zstd, lz4), 4 * PAGE, /cannot read/],
      ['lz4 that is zstd', as(PayloadCodec.lz4, zstd), 4 * PAGE, /another number of pages/],
      ['lz4 cut', lz4.subarray(0, lz4.length - 9), 4 * PAGE, /cannot read/],
      ['lz4 without a length', lz4.subarray(0, 4), 4 * PAGE, /too short/],
      ['zlib', Buffer.concat([Uint8Array.of(3), deflateSync(pages)]), 4 * PAGE, /cannot read/],
      ['noise', Uint8Array.of(2, ...noise(900, 5)), 4 * PAGE, /cannot read/],
      ['zeros', new Uint8Array(900), 4 * PAGE, /codec that is not known/],
      ['a bomb', bomb, PACKET_PAGES_BYTES, /more than|cannot read/],
    ];
    for (const [what, payload, bytes, message] of cases) {
      const decompressor = create();
      const before = process.memoryUsage().arrayBuffers;
      assert.doesNotThrow(() => refuses(decompressor, payload, bytes, message), what);
      assert.ok(process.memoryUsage().arrayBuffers - before < 2 * PACKET_PAGES_BYTES, what);
      decompressor.close();
    }
  });

  test(`${name}: a stream that goes on in another one's place is refused`, () => {
    const compressor = createZstdCompressor(1);
    const decompressor = create();
    const first = payloadOf(PayloadCodec.zstd, compressor, text(4, 1));
    assert.equal(decompressor.decompress(first, 4 * PAGE, PLACE).length, 4 * PAGE);
    const second = payloadOf(PayloadCodec.zstd + 1, compressor, text(4, 2));
    refuses(decompressor, second, 4 * PAGE, /cannot read|ends too early/);
    compressor.close();
    decompressor.close();
  });
}

test('a payload that would be as long as its pages gets a byte more', () => {
  const target = new Uint8Array(1 << 20);
  for (const [body, length] of [
    [PAGE - 2, PAGE - 1],
    [PAGE - 1, PAGE + 1],
    [PAGE, PAGE + 1],
  ] as const) {
    const made = noise(body, 3);
    bodyOf(target).set(made);
    target.fill(0xee, 1 + body);
    const payload = framePayload(PayloadCodec.zstd, body, PAGE, target);
    assert.equal(payload.length, length);
    const opened = openPayload(payload, PLACE);
    assert.equal(opened.codec, PayloadCodec.zstd);
    assert.equal(Buffer.compare(opened.body, made), 0);
  }
});

test('a payload above the limit is never made', () => {
  assert.throws(() => framePayload(PayloadCodec.zstd, 1 << 20, PACKET_PAGES_BYTES, new Uint8Array(1 << 20)), {
    code: 'internal',
  });
});
