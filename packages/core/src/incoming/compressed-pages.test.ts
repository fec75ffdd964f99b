import assert from 'node:assert/strict';
import test from 'node:test';
import { deflateSync } from 'node:zlib';
import { RamBlock } from '../memory/ram-block.ts';
import { InThreadDecompress } from '../testing/in-thread-compress.ts';
import type { RamCompressedPageMessage } from '../wire/messages.ts';
import { CompressedPages } from './compressed-pages.ts';

function compressed(pageIndex: number, value: number): RamCompressedPageMessage {
  const data = deflateSync(Buffer.alloc(4096, value));
  return { type: 'ram-compressed-page', blockIndex: 0, pageIndex, data };
}

async function setUp(room = 10) {
  const block = RamBlock.allocate('pc.ram', 16 * 4096);
  const threads = new InThreadDecompress(room);
  const pages = new CompressedPages(threads);
  await pages.open([block], 'pc-i440fx-7.2', undefined);
  const firstBytes = () => Array.from({ length: 6 }, (_, page) => block.bytes[page * 4096]);
  const sink = {
    page(_block: number, page: number, bytes: Uint8Array, at: number) {
      block.bytes.set(bytes.subarray(at, at + 4096), page * 4096);
      return true;
    },
    zero(_block: number, page: number) {
      block.bytes.fill(0, page * 4096, (page + 1) * 4096);
      return true;
    },
    xbzrle(_block: number, page: number, bytes: Uint8Array, at: number, length: number) {
      block.bytes.set(bytes.subarray(at, at + length), page * 4096);
      return true;
    },
  };
  return { pages, threads, firstBytes, sink };
}

test('pages get to their places by the end of the section', async () => {
  const { pages, firstBytes } = await setUp();
  assert.equal(pages.take(compressed(1, 7), 0), undefined);
  assert.equal(pages.take(compressed(3, 9), 0), undefined);
  assert.deepEqual(firstBytes(), [0, 0, 0, 0, 0, 0]);
  await pages.finished();
  assert.deepEqual(firstBytes(), [0, 7, 0, 9, 0, 0]);
});

test('what comes later for a page wins, in whatever form', async () => {
  const { pages, firstBytes, sink } = await setUp();
  for (const page of [0, 1, 2, 3]) pages.take(compressed(page, 50 + page), 0);
  assert.ok(pages.holds(0, 1) && !pages.holds(0, 4));
  await pages.take(compressed(0, 1), 0);
  pages.take(compressed(5, 5), 0);
  await pages.take(compressed(1, 2), 0);
  await pages.placeAfter({ type: 'ram-zero', blockIndex: 0, pageIndex: 1 }, sink);
  await pages.placeAfter(
    { type: 'ram-page', blockIndex: 0, pageIndex: 2, data: Buffer.alloc(4096, 3) },
    sink,
  );
  const changed = { type: 'ram-xbzrle', blockIndex: 0, pageIndex: 3, data: Buffer.of(4) } as const;
  await pages.placeAfter(changed, sink);
  await pages.finished();
  assert.deepEqual(firstBytes(), [1, 0, 3, 4, 0, 5]);
});

test('with every thread busy the stream waits', async () => {
  const { pages, firstBytes } = await setUp(2);
  for (const page of [0, 1]) assert.equal(pages.take(compressed(page, 8), 0), undefined);
  const waiting = pages.take(compressed(2, 8), 0);
  assert.ok(waiting instanceof Promise);
  await waiting;
  assert.deepEqual(firstBytes().slice(0, 3), [8, 8, 0]);
  await pages.finished();
  assert.deepEqual(firstBytes().slice(0, 3), [8, 8, 8]);
});

test('with the capability off such a page is an error', () => {
  const pages = new CompressedPages(undefined);
  assert.equal(pages.holds(0, 0), false);
  assert.equal(pages.finished(), undefined);
  assert.throws(() => pages.take(compressed(0, 1), 77), {
    code: 'unknown-flag',
    message: /capability compress is off/,
    channel: 'main',
    offset: 77,
  });
});

test('whether errors count is up to the machine version, unless it is said', async () => {
  for (const [machine, said, expected] of [
    ['pc-i440fx-2.12', undefined, false],
    ['pc-i440fx-3.0', undefined, true],
    ['pc', undefined, true],
    [undefined, undefined, true],
    ['pc-i440fx-2.12', true, true],
    ['pc-i440fx-7.2', false, false],
  ] as const) {
    const threads = new InThreadDecompress(1);
    await new CompressedPages(threads).open([], machine, said);
    assert.equal(threads.checkErrors, expected, `${machine} ${said}`);
  }
});
