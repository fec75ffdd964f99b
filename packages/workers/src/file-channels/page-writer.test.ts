import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { DirtyBitmap, RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { PageWriter, type Written } from './page-writer.ts';

const folder = mkdtempSync(join(tmpdir(), 'pageferry-pages-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const PAGES_OFFSET = 8192;

function setUp(name: string, block: RamBlock, detectZero = true) {
  const fd = openSync(join(folder, name), 'w+');
  const present = new DirtyBitmap(block.pageCount);
  const placed = { memory: block.toMemory(), pagesOffset: PAGES_OFFSET, present: present.buffer };
  const writer = new PageWriter(fd, name, [placed], detectZero);
  const written: Written = { writes: 0, normalPages: 0, zeroPages: 0, writeMs: 0 };
  const write = (...pages: number[]) => {
    writer.write(0, Uint32Array.from(pages), pages.length, written);
    const { writes, normalPages, zeroPages } = written;
    return { writes, normalPages, zeroPages };
  };
  const presentPages = () =>
    Array.from({ length: block.pageCount }, (_, page) => page).filter((p) => present.test(p));
  return { fd, write, presentPages };
}

test('neighbours go in one write, each page to its place; zero pages in none', () => {
  const block = RamBlock.allocate('pc.ram', 100 * TARGET_PAGE_BYTES);
  for (let page = 0; page < 100; page++) block.bytes.fill(page, page * 4096, page * 4096 + 4096);
  const { fd, write, presentPages } = setUp('places', block);
  // Page 0 is zero; 3 to 5 and 40 to 79 are neighbours.
  const long = Array.from({ length: 40 }, (_, i) => 40 + i);
  assert.deepEqual(write(0, 1, 3, 4, 5, ...long), { writes: 3, normalPages: 44, zeroPages: 1 });
  assert.deepEqual(presentPages(), [1, 3, 4, 5, ...long]);
  const file = readFileSync(join(folder, 'places'));
  assert.equal(file.length, PAGES_OFFSET + 80 * 4096);
  for (let page = 0; page < 80; page++) {
    const expected = presentPages().includes(page) ? page : 0;
    const at = PAGES_OFFSET + page * 4096;
    assert.ok(
      file.subarray(at, at + 4096).every((byte) => byte === expected),
      `page ${page}`,
    );
  }
  closeSync(fd);
});

test('a zero page between others splits the write, and loses the bit that it had', () => {
  const block = RamBlock.allocate('pc.ram', 70 * TARGET_PAGE_BYTES);
  block.bytes.fill(7);
  const { fd, write, presentPages } = setUp('turns-zero', block);
  const all = Array.from({ length: 70 }, (_, page) => page);
  assert.deepEqual(write(...all), { writes: 1, normalPages: 70, zeroPages: 0 });
  block.bytes.fill(0, 33 * 4096, 34 * 4096);
  assert.deepEqual(write(32, 33, 34), { writes: 2, normalPages: 2, zeroPages: 1 });
  assert.deepEqual(
    presentPages(),
    all.filter((page) => page !== 33),
  );
  closeSync(fd);
});

test('without detection a zero page is a page', () => {
  const block = RamBlock.allocate('pc.ram', 4 * TARGET_PAGE_BYTES);
  const { fd, write, presentPages } = setUp('no-detection', block, false);
  assert.deepEqual(write(0, 1, 2, 3), { writes: 1, normalPages: 4, zeroPages: 0 });
  assert.deepEqual(presentPages(), [0, 1, 2, 3]);
  closeSync(fd);
});

test('pages beyond 4 GiB are read and written where they are', () => {
  const block = RamBlock.allocate('pc.ram', 5 * 2 ** 30);
  const pages = [3, 2 ** 20 + 3, 2 ** 20 + 4];
  for (const [index, page] of pages.entries()) block.bytes.fill(index + 1, page * 4096, (page + 1) * 4096);
  const { fd, write } = setUp('large', block);
  assert.deepEqual(write(...pages), { writes: 2, normalPages: 3, zeroPages: 0 });
  const found = Buffer.alloc(4096);
  for (const [index, page] of pages.entries()) {
    readSync(fd, found, 0, 4096, PAGES_OFFSET + page * 4096);
    assert.ok(
      found.every((byte) => byte === index + 1),
      `page ${page}`,
    );
  }
  ftruncateSync(fd, 0);
  closeSync(fd);
});

test('a device without room: file-failed with the name and the reason', () => {
  const block = RamBlock.allocate('pc.ram', TARGET_PAGE_BYTES);
  block.bytes.fill(1);
  const fd = openSync('/dev/full', 'w');
  const placed = {
    memory: block.toMemory(),
    pagesOffset: 0,
    present: new DirtyBitmap(1).buffer,
  };
  const writer = new PageWriter(fd, '/the/file', [placed], true);
  const written: Written = { writes: 0, normalPages: 0, zeroPages: 0, writeMs: 0 };
  assert.throws(() => writer.write(0, Uint32Array.of(0), 1, written), {
    code: 'file-failed',
    channel: '/the/file',
    message: /cannot write \/the\/file: ENOSPC/,
  });
  closeSync(fd);
});
