import assert from 'node:assert/strict';
import test from 'node:test';
import { constants, deflateSync, zstdCompressSync } from 'node:zlib';
import { CONTENT_MIXES, ContentKind, type ContentMix, ContentWriter, initialKind } from './content.ts';
import { PAGE_WORDS } from './layout.ts';
import { Random } from './random.ts';

const PAGES = 2048;

function contentOf(mix: ContentMix, seed = 7): Uint8Array {
  const writer = new ContentWriter();
  const random = new Random(seed);
  const words = new Int32Array(PAGES * PAGE_WORDS);
  const index = CONTENT_MIXES.indexOf(mix);
  for (let page = 0; page < PAGES; page++) {
    const start = page * PAGE_WORDS;
    writer.fill(initialKind(index, page, seed), words, start, start + PAGE_WORDS, random);
  }
  return new Uint8Array(words.buffer);
}

const zlibRatio = (bytes: Uint8Array): number => bytes.length / deflateSync(bytes, { level: 1 }).length;
const zstdRatio = (bytes: Uint8Array): number => {
  const params = { [constants.ZSTD_c_compressionLevel]: 1 };
  return bytes.length / zstdCompressSync(bytes, { params }).length;
};

for (const [mix, least, most] of [
  ['text', 3, 5],
  ['library', 1.6, 2.6],
  ['random', 0.99, 1.01],
  ['mixed', 1.8, 3.5],
] as const) {
  test(`${mix} content compresses ${least} to ${most} times`, () => {
    const bytes = contentOf(mix);
    for (const ratio of [zlibRatio(bytes), zstdRatio(bytes)]) {
      assert.ok(ratio > least && ratio < most, `ratio ${ratio}`);
    }
  });
}

test('zero content is zero, and a quarter of mixed content about', () => {
  assert.ok(contentOf('zero').every((byte) => byte === 0));
  const kinds = Array.from({ length: 65536 }, (_, page) =>
    initialKind(CONTENT_MIXES.indexOf('mixed'), page, 1),
  );
  const zero = kinds.filter((kind) => kind === ContentKind.zero).length / kinds.length;
  assert.ok(zero > 0.2 && zero < 0.3, `${zero}`);
});

test('no two pages are the same', () => {
  for (const mix of ['text', 'library', 'random'] as const) {
    const bytes = Buffer.from(contentOf(mix).buffer);
    const pages = new Set<string>();
    for (let page = 0; page < PAGES; page++)
      pages.add(bytes.toString('latin1', page * 4096, page * 4096 + 4096));
    assert.equal(pages.size, PAGES);
  }
});
