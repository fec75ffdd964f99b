import assert from 'node:assert/strict';
import test from 'node:test';
import { RamBlock } from './ram-block.ts';
import { isZeroPage, wordsAreZero } from './zero-page.ts';

for (const [name, isZero] of [
  ['the comparison of this platform', isZeroPage],
  ['the portable comparison', wordsAreZero],
] as const) {
  test(`${name} sees a bit at any place of the page, and none beside it`, () => {
    for (const offset of [0, 4, 8, 13]) {
      const bytes = new Uint8Array(new SharedArrayBuffer(3 * 4096 + 64)).subarray(offset);
      bytes.fill(0xff, 0, 4096);
      bytes.fill(0xff, 8192);
      assert.equal(isZero(bytes, 4096), true);
      for (let at = 0; at < 4096; at++) {
        bytes[4096 + at] = 1 << (at & 7);
        assert.equal(isZero(bytes, 4096), false, `byte ${at}`);
        bytes[4096 + at] = 0;
      }
      assert.equal(isZero(bytes, 4095), false);
      assert.equal(isZero(bytes, 4097), false);
    }
  });

  test(`${name} is right beyond 4 GiB`, () => {
    const { bytes, pageCount } = RamBlock.allocate('large', 5 * 2 ** 30);
    assert.equal(pageCount, 1310720);
    const last = (pageCount - 1) * 4096;
    assert.equal(isZero(bytes, last), true);
    bytes[last + 2000] = 1;
    assert.equal(isZero(bytes, last), false);
    assert.equal(isZero(bytes, last - 2 ** 32), true);
    assert.equal(isZero(bytes, last - 4096), true);
  });
}

test('values that cancel out, or are negative zeros as numbers, are not zero', () => {
  const buffer = new SharedArrayBuffer(4096);
  const bytes = new Uint8Array(buffer);
  new Float64Array(buffer).set([-0, 1, -1]);
  assert.equal(wordsAreZero(bytes, 0), false);
  new Float64Array(buffer).set([-0, 0, 0]);
  assert.equal(wordsAreZero(bytes, 0), false);
  assert.equal(isZeroPage(bytes), false);
});
