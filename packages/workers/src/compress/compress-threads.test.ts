import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { inflateSync } from 'node:zlib';
import type { CompressedBatch } from '@pageferry/core';
import { RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import {
  encodeConfiguration,
  encodeCountedString,
  encodePageHeader,
  encodeRamBlocks,
  encodeSectionStart,
  encodeStreamHeader,
  RamFlag,
  StreamDecoder,
} from '@pageferry/core/wire';
import { createCompressThreads } from './compress-threads.ts';

const PAGES = 96;

/** Zero, random, constant and counting pages in turn. */
function content(): RamBlock {
  const block = RamBlock.allocate('pc.ram', PAGES * TARGET_PAGE_BYTES);
  for (let page = 0; page < PAGES; page++) {
    const bytes = block.bytes.subarray(page * TARGET_PAGE_BYTES, (page + 1) * TARGET_PAGE_BYTES);
    if (page % 4 === 1) bytes.set(crypto.getRandomValues(new Uint8Array(TARGET_PAGE_BYTES)));
    if (page % 4 === 2) bytes.fill(page);
    if (page % 4 === 3) for (let i = 0; i < bytes.length; i++) bytes[i] = (i * page) >> 4;
  }
  return block;
}

async function open(
  context: TestContext,
  block: RamBlock,
  options: { threads?: number; level?: number; detectZero?: boolean },
) {
  const threads = createCompressThreads({ threads: 1, level: 1, detectZero: true, ...options });
  context.after(() => threads.end());
  await threads.open([block]);
  return threads;
}

async function nextBatch(threads: Awaited<ReturnType<typeof open>>): Promise<CompressedBatch> {
  await threads.done();
  return threads.next()!;
}

/** The pages that records bring, by page number. */
function pagesOf(records: Uint8Array, block: RamBlock): Map<number, Uint8Array> {
  const decoder = new StreamDecoder();
  decoder.push(encodeStreamHeader());
  decoder.push(encodeConfiguration({ machine: 'pc-i440fx-7.2' }));
  decoder.push(encodeSectionStart({ sectionId: 2, idstr: 'ram', instanceId: 0, versionId: 4 }));
  decoder.push(encodeRamBlocks(block.usedLengthBytes, [block]));
  // The records themselves name no block.
  const head = Buffer.alloc(32);
  const end = encodePageHeader(head, 0, encodeCountedString(block.idstr), PAGES - 1, RamFlag.zero);
  decoder.push(head.subarray(0, end + 1));
  decoder.push(records);
  const pages = new Map<number, Uint8Array>();
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
    if (message.type === 'ram-zero') pages.set(message.pageIndex, new Uint8Array(TARGET_PAGE_BYTES));
    if (message.type === 'ram-compressed-page') pages.set(message.pageIndex, inflateSync(message.data));
  }
  pages.delete(PAGES - 1);
  return pages;
}

for (const level of [0, 1, 6, 9]) {
  test(`level ${level}: every page comes back`, async (context) => {
    const block = content();
    const threads = await open(context, block, { level });
    const numbers = Uint32Array.from({ length: 100 }, (_, i) => i);
    assert.ok(threads.submit(0, numbers, 10, 10 + threads.pagesPerSubmit));
    assert.equal(threads.pendingPages, 64);
    assert.ok(!threads.submit(0, numbers, 74, 80), 'there is one thread');
    const batch = await nextBatch(threads);
    assert.equal(threads.pendingPages, 0);
    assert.deepEqual([batch.zeroPages, batch.compressedPages], [16, 48]);
    const pages = pagesOf(batch.records, block);
    assert.deepEqual(
      [...pages.keys()],
      Array.from({ length: 64 }, (_, i) => i + 10),
    );
    for (const [page, bytes] of pages) {
      const at = page * TARGET_PAGE_BYTES;
      assert.ok(
        Buffer.from(block.bytes)
          .subarray(at, at + TARGET_PAGE_BYTES)
          .equals(bytes),
        `page ${page}`,
      );
    }
    assert.ok(threads.submit(0, numbers, 0, 1));
    assert.equal((await nextBatch(threads)).zeroPages, 1);
    assert.equal(threads.next(), undefined);
  });
}

test('with many threads the batches are smaller', () => {
  const batch = (threads: number) =>
    createCompressThreads({ threads, level: 1, detectZero: true }).pagesPerSubmit;
  assert.deepEqual([1, 16, 32, 255].map(batch), [64, 64, 32, 8]);
});

test('zero pages are compressed where they are not looked for', async (context) => {
  const block = content();
  const threads = await open(context, block, { detectZero: false });
  threads.submit(0, Uint32Array.of(0, 4), 0, 2);
  const batch = await nextBatch(threads);
  assert.deepEqual([batch.zeroPages, batch.compressedPages], [0, 2]);
  assert.deepEqual(pagesOf(batch.records, block).get(4), Buffer.alloc(TARGET_PAGE_BYTES));
});

test('a page that the guest writes meanwhile makes a whole stream all the same', async (context) => {
  const block = content();
  const threads = await open(context, block, { threads: 2, level: 6 });
  const numbers = Uint32Array.from({ length: 64 }, (_, i) => i);
  let batches = 0;
  for (const end = performance.now() + 300; performance.now() < end || batches < 10; ) {
    while (threads.submit(0, numbers, 0, 64));
    for (let i = 0; i < 20_000; i++) block.bytes[Math.floor(Math.random() * block.bytes.length)] = i;
    for (let batch = await nextBatch(threads); batch !== undefined; batch = threads.next()!) {
      assert.equal(pagesOf(batch.records, block).size, 64);
      batches++;
    }
  }
});

test('a thread that dies, and an end that is asked for, reject whoever waits', async (context) => {
  const dying = await open(context, content(), {});
  // There is no such block.
  dying.submit(9, Uint32Array.of(0), 0, 1);
  await assert.rejects(dying.done(), { code: 'worker-failed', message: /compress thread died/ });
  await assert.rejects(dying.failed, { code: 'worker-failed' });

  const ended = await open(context, content(), {});
  ended.submit(0, Uint32Array.of(1), 0, 1);
  const waiting = assert.rejects(ended.done(), /enough/);
  await ended.end(new Error('enough'));
  await waiting;
});
