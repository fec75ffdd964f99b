import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { DirtyBitmap, RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { PageJob } from './page-ring.ts';
import { PageWriter } from './page-writer.ts';

const folder = mkdtempSync(join(tmpdir(), 'pageferry-pages-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const PAGES_OFFSET = 8192;

function jobOf(...pages: number[]): PageJob {
  const job = new PageJob(new SharedArrayBuffer(528), 0);
  job.pages.set(pages);
  job.set(false, 0, pages.length);
  return job;
}

function setUp(name: string, block: RamBlock) {
  const fd = openSync(join(folder, name), 'w+');
  const present = new DirtyBitmap(block.pageCount);
  const placed = { memory: block.toMemory(), pagesOffset: PAGES_OFFSET, present: present.buffer };
  const writer = new PageWriter(fd, name, [placed]);
  const write = (...pages: number[]) => {
    const job = jobOf(...pages);
    writer.check(job);
    const writes = writer.write(job);
    return { writes, normalPages: job.count, zeroPages: job.zeroPages };
  };
  const presentPages = () =>
    Array.from({ length: block.pageCount }, (_, page) => page).filter((page) => present.test(page));
  return { fd, writer, write, presentPages };
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

test('without a check a zero page is a page', () => {
  const block = RamBlock.allocate('pc.ram', 4 * TARGET_PAGE_BYTES);
  const { fd, writer, presentPages } = setUp('no-check', block);
  const job = jobOf(0, 1, 2, 3);
  assert.equal(writer.write(job), 1);
  assert.equal(job.zeroPages, 0);
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
  const fd = openSync('/dev/full', 'w');
  const placed = { memory: block.toMemory(), pagesOffset: 0, present: new DirtyBitmap(1).buffer };
  const writer = new PageWriter(fd, '/the/file', [placed]);
  assert.throws(() => writer.write(jobOf(0)), {
    code: 'file-failed',
    channel: '/the/file',
    message: /cannot write \/the\/file: ENOSPC/,
  });
  closeSync(fd);
});
