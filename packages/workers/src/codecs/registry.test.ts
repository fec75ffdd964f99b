import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationError } from '@pageferry/core';
import { CODEC_BACKENDS, type CodecBackend, type MultifdCompression } from '@pageferry/core/control';
import { MULTIFD_PAYLOAD_LIMIT_BYTES } from '@pageferry/core/wire';
import type { PageCompressor, PageDecompressor } from './codec.ts';
import { PACKET_PAGES_BYTES } from './codec.ts';
import { CODECS, checkLevel, createCompressor, createDecompressor, resolveBackend } from './registry.ts';

const PAGE = 4096;
const PLACE = { channel: 'multifd 3', offset: 64 };

/** Every pair of backends that can stand at the two ends of a channel. */
const PAIRS: [MultifdCompression, CodecBackend, CodecBackend][] = [];
for (const codec of Object.values(CODECS)) {
  for (const compress of codec.compressBackends) {
    for (const decompress of codec.decompressBackends) PAIRS.push([codec.name, compress, decompress]);
  }
}

async function pair(name: MultifdCompression, from: CodecBackend, to: CodecBackend, level = 1) {
  const compressor = await createCompressor(CODECS[name], level, from);
  const decompressor = await createDecompressor(CODECS[name], to);
  assert.ok(compressor && decompressor);
  return { compressor, decompressor };
}

/** A payload that outlives the next packet. */
async function compressed(compressor: PageCompressor, pages: Uint8Array): Promise<Uint8Array> {
  return Uint8Array.from(await compressor.compress(pages, new Uint8Array(MULTIFD_PAYLOAD_LIMIT_BYTES)));
}

function refuses(decompressor: PageDecompressor, payload: Uint8Array, bytes: number, message?: RegExp): void {
  assert.throws(
    () => decompressor.decompress(payload, bytes, PLACE),
    (error: unknown) => {
      assert.ok(error instanceof MigrationError, String(error));
      assert.equal(error.code, 'bad-compressed-data');
      assert.equal(error.channel, 'multifd 3');
      assert.equal(error.offset, 64);
      if (message !== undefined) assert.match(error.message, message);
      return true;
    },
  );
}

for (const [name, from, to] of PAIRS) {
  test(`${name}: ${to} reads what ${from} makes, over many packets of one stream`, async () => {
    const { compressor, decompressor } = await pair(name, from, to);
    const packets = from === 'pako' ? 12 : 60;
    for (let packet = 0; packet < packets; packet++) {
      const pages = sample(packet === 7 ? 128 : 1 + ((packet * 37) % 128), packet);
      const payload = await compressed(compressor, pages);
      const got = decompressor.decompress(payload, pages.length, PLACE);
      assert.equal(Buffer.compare(got, pages), 0, `packet ${packet}`);
    }
    compressor.close();
    decompressor.close();
  });

  test(`${name}: ${to} refuses damage to what ${from} makes`, async () => {
    const damage: [(payload: Uint8Array) => Uint8Array, number][] = [
      // more pages than there are
      [(payload) => payload, 5 * PAGE],
      // fewer
      [(payload) => payload, 3 * PAGE],
      // cut short
      [(payload) => payload.subarray(0, payload.length - 9), 4 * PAGE],
      // empty
      [() => new Uint8Array(0), 4 * PAGE],
      // garbage
      [(payload) => noise(payload.length, 99), 4 * PAGE],
      // zeros
      [(payload) => new Uint8Array(payload.length), 4 * PAGE],
    ];
    for (const [change, bytes] of damage) {
      const { compressor, decompressor } = await pair(name, from, to);
      const payload = await compressed(compressor, sample(4, 1));
      refuses(decompressor, change(payload), bytes);
      compressor.close();
      decompressor.close();
    }
  });

  test(`${name}: ${to} stops a bomb made by ${from} within its bounds`, async () => {
    const { compressor, decompressor } = await pair(name, from, to);
    // A payload for 128 pages that says that it is for one.
    const payload = await compressed(compressor, new Uint8Array(PACKET_PAGES_BYTES));
    const before = process.memoryUsage().arrayBuffers;
    refuses(decompressor, payload, PAGE);
    assert.ok(process.memoryUsage().arrayBuffers - before < 2 * PACKET_PAGES_BYTES);
    compressor.close();
    decompressor.close();
  });
}

const COMPRESSORS = Object.values(CODECS).flatMap(({ name, compressBackends }) =>
  compressBackends.map((from) => [name, from] as const),
);

for (const [name, from] of COMPRESSORS) {
  test(`${name} by ${from} keeps incompressible pages below QEMU's buffer at every level`, async () => {
    const { levels } = CODECS[name];
    const noisy = noise(PACKET_PAGES_BYTES, 5);
    const some = levels === undefined ? [0] : [levels.least, 1, Math.min(levels.most, 9)];
    for (const level of some) {
      const compressor = await createCompressor(CODECS[name], level, from);
      for (let packet = 0; packet < 3; packet++) {
        const payload = await compressed(compressor!, noisy);
        assert.ok(payload.length < PACKET_PAGES_BYTES * 1.01, `level ${level}: ${payload.length}`);
      }
      compressor!.close();
    }
  });
}

test('the level reaches each backend', async () => {
  for (const [name, from] of [
    ['zlib', 'minizlib'],
    ['zlib', 'pako'],
    ['zstd', 'minizlib'],
    ['zstd', 'mongodb-zstd'],
  ] as const) {
    const sizes: number[] = [];
    for (const level of [1, 9]) {
      const compressor = await createCompressor(CODECS[name], level, from);
      sizes.push((await compressed(compressor!, sample(128, 3))).length);
      compressor!.close();
    }
    assert.ok(sizes[1]! < sizes[0]!, `${name} by ${from}: ${sizes}`);
  }
});

test('none has no backend', async () => {
  assert.equal(await createCompressor(CODECS.none, undefined), undefined);
  assert.equal(await createDecompressor(CODECS.none), undefined);
});

test('a backend that does not do the codec is refused by name, with what there is', () => {
  for (const codec of Object.values(CODECS)) {
    for (const direction of ['compress', 'decompress'] as const) {
      const can = direction === 'compress' ? codec.compressBackends : codec.decompressBackends;
      assert.equal(resolveBackend(codec, direction), can[0]);
      for (const backend of CODEC_BACKENDS) {
        if (can.includes(backend)) {
          assert.equal(resolveBackend(codec, direction, backend), backend);
          continue;
        }
        assert.throws(() => resolveBackend(codec, direction, backend), {
          code: 'bad-option',
          found: backend,
          expected: can.length === 0 ? 'no backend at all' : `one of ${can.join(', ')}`,
        });
      }
    }
  }
});

test('levels outside their range are refused', () => {
  for (const [name, bad] of [
    ['zlib', 10],
    ['zlib', -1],
    ['zlib', 1.5],
    ['zstd', 21],
    ['zstd', undefined],
  ] as const) {
    assert.throws(() => checkLevel(CODECS[name], bad), { code: 'bad-option' });
  }
  for (const [name, good] of [
    ['zlib', 0],
    ['zlib', 9],
    ['zstd', 0],
    ['zstd', 20],
    ['lz4', 77],
    ['none', undefined],
  ] as const) {
    checkLevel(CODECS[name], good);
  }
});

/** Pages of which a part repeats: words of a small vocabulary, with noise between them. */
function sample(pages: number, seed: number): Uint8Array {
  const bytes = noise(pages * PAGE, seed);
  for (let at = 0; at + 64 <= bytes.length; at += 64) {
    if (bytes[at]! > 80)
      bytes.copyWithin(at, (bytes[at]! * 64) % Math.max(64, at), ((bytes[at]! * 64) % Math.max(64, at)) + 60);
    for (let i = 0; i < 64; i += 3) bytes[at + i] = 0x20 + (bytes[at + i]! % 16);
  }
  return bytes;
}

function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
