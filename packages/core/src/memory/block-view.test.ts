import assert from 'node:assert/strict';
import test from 'node:test';
import { BlockView } from './block-view.ts';
import { RamBlock, TARGET_PAGE_BYTES } from './ram-block.ts';

const GIB = 2 ** 30;
/** Beside the ends of windows, beyond 2 and beyond 4 GiB. */
const PAGES = [0, GIB / 4096 - 1, GIB / 4096, (2 * GIB) / 4096, (4 * GIB) / 4096 + 7];

test('pages anywhere in a block are found, copied, cleared and told apart', () => {
  const ram = RamBlock.allocate('pc.ram', 4 * GIB + 16 * TARGET_PAGE_BYTES);
  const view = new BlockView(ram.toMemory());
  assert.equal(view.pageCount, (4 * GIB) / 4096 + 16);
  const source = Buffer.alloc(3 * TARGET_PAGE_BYTES + 1);
  const target = Buffer.alloc(3 * TARGET_PAGE_BYTES + 1);
  for (const [i, page] of PAGES.entries()) {
    assert.ok(view.isZero(page));
    source.fill(i + 1);
    view.copyIn(source, 0, page, 2);
    assert.ok(!view.isZero(page) && !view.isZero(page + 1) && view.isZero(page + 2));
    assert.equal(ram.bytes[(page + 2) * TARGET_PAGE_BYTES - 1], i + 1);
    view.copyOut(page, 2, target, 0);
    assert.equal(target.compare(source, 0, 2 * TARGET_PAGE_BYTES, 0, 2 * TARGET_PAGE_BYTES), 0);
    assert.equal(view.view(page, 2, 1)[0], i + 1);
    view.clear(page);
    assert.ok(view.isZero(page) && !view.isZero(page + 1));
    view.clear(page + 1);
  }
});

test('the address of a page is exact, and asked for once', () => {
  const buffer = new SharedArrayBuffer(16 * TARGET_PAGE_BYTES);
  const memory = { idstr: 'ram', usedLengthBytes: 8 * TARGET_PAGE_BYTES, pageSizeBytes: TARGET_PAGE_BYTES };
  const view = new BlockView({ ...memory, buffer, byteOffset: 512 });
  let asked = 0;
  // No memory need begin at a page: a plain buffer does not.
  const base = 0x7fff_1234_5010;
  const addressOf = (of: SharedArrayBuffer) => {
    assert.equal(of, buffer);
    asked++;
    return base;
  };
  for (const page of [0, 7, 2 ** 20, 2 ** 31 - 1]) {
    assert.equal(view.pageAddress(page, addressOf), base + 512 + page * TARGET_PAGE_BYTES);
  }
  assert.equal(asked, 1);
});
