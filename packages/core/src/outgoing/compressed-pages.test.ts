import assert from 'node:assert/strict';
import test from 'node:test';
import { inflateSync } from 'node:zlib';
import { type MigrateOptions, resolveMigrateOptions } from '../control/options.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { InThreadCompress } from '../testing/in-thread-compress.ts';
import { MemoryChannel } from '../testing/memory-channel.ts';
import { TestGuest } from '../testing/test-guests.ts';
import { StreamDecoder } from '../wire/stream-decoder.ts';
import { CompressedPages } from './compressed-pages.ts';
import { MainPages } from './main-pages.ts';
import { MainStreamWriter } from './main-stream.ts';
import { protocolSwitches } from './switches.ts';

/** A source's pages behind compress threads, and a destination that has applied all records so far. */
async function setUp(threadCount: number, options: MigrateOptions = {}) {
  const guest = new TestGuest('pc-i440fx-7.2');
  const live = resolveMigrateOptions({ compress: true, ...options });
  const [near, far] = MemoryChannel.pair();
  const stream = new MainStreamWriter(near, 2);
  stream.header({ machine: guest.machine });
  stream.ramStart(guest.blocks);
  const main = new MainPages(near, guest.blocks);
  const threads = new InThreadCompress(threadCount);
  await threads.open(guest.blocks);
  const batch = new Uint32Array(threads.pagesPerSubmit);
  const pages = new CompressedPages({
    threads,
    channel: near,
    main,
    live,
    signal: new AbortController().signal,
    async ordinary(block, from, end) {
      for (let i = from; i < end; i++) {
        if (main.isZero(block, batch[i]!)) main.addZero(block, batch[i]!);
        else main.addPage(block, batch[i]!);
      }
    },
  });
  const decoder = new StreamDecoder();
  const destination = guest.blocks.map((block) => new Uint8Array(block.usedLengthBytes));
  const seen: string[] = [];

  async function send(block: number, ...numbers: number[]): Promise<void> {
    batch.set(numbers);
    await pages.send(block, batch, numbers.length);
  }

  /** The records that have come since the last call. */
  async function arrived(): Promise<string[]> {
    main.flush();
    while (far.bytesRead < near.bytesWritten) decoder.push((await far.read())!);
    for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
      if (!('pageIndex' in message)) continue;
      const { type, blockIndex, pageIndex } = message;
      const content = type === 'ram-zero' ? new Uint8Array(TARGET_PAGE_BYTES) : message.data;
      const page = type === 'ram-compressed-page' ? inflateSync(content) : content;
      destination[blockIndex]!.set(page, pageIndex * TARGET_PAGE_BYTES);
      seen.push(`${type.replace('ram-', '').replace('-page', '')} ${blockIndex}:${pageIndex}`);
    }
    return seen.splice(0);
  }
  return { guest, pages, threads, destination, send, arrived };
}

test('the first page of a block goes the ordinary way, and names it', async () => {
  const { pages, send, arrived } = await setUp(4);
  await send(0, 0, 1, 2, 3);
  await send(0, 4, 5);
  assert.deepEqual(await arrived(), ['page 0:0']);
  await pages.flush();
  // The threads are done in another order.
  assert.deepEqual(await arrived(), ['compressed 0:4', 'zero 0:5', 'zero 0:1', 'compressed 0:2', 'zero 0:3']);
  await send(0, 6, 7);
  await pages.flush();
  assert.deepEqual(await arrived(), ['compressed 0:6', 'zero 0:7']);
});

test('no record of a block comes behind the name of another', async () => {
  const { pages, send, arrived } = await setUp(4);
  await send(0, 0, 2);
  await send(0, 4, 6);
  await send(1, 1, 0, 2);
  assert.deepEqual(await arrived(), [
    'page 0:0',
    'compressed 0:4',
    'compressed 0:6',
    'compressed 0:2',
    'zero 1:1',
  ]);
  await send(0, 8);
  await pages.flush();
  assert.deepEqual(await arrived(), ['compressed 1:0', 'compressed 1:2', 'page 0:8']);
});

test('all of RAM arrives, whatever the threads do', async () => {
  const { guest, pages, threads, destination, send, arrived } = await setUp(3);
  for (const [index, block] of guest.blocks.entries()) {
    for (let page = 0; page < block.pageCount; page += 4) {
      await send(index, page, page + 1, page + 2, page + 3);
      if (page % 24 === 0 && threads.batches.length > 1) threads.finish(0);
    }
  }
  await pages.flush();
  assert.equal(pages.pendingPages, 0);
  await arrived();
  for (const [index, block] of guest.blocks.entries())
    assert.ok(Buffer.from(block.bytes).equals(destination[index]!), block.idstr);
});

test('without a free thread a page waits, or goes as it is and is counted', async () => {
  const waiting = await setUp(1);
  await waiting.send(0, 0, 2);
  await waiting.send(0, 4, 6, 8, 10);
  assert.deepEqual(await waiting.arrived(), ['page 0:0', 'compressed 0:2']);
  assert.equal(waiting.pages.stats().busy, 0);

  const hasty = await setUp(1, { compressWaitThread: false });
  await hasty.send(0, 0, 2);
  await hasty.send(0, 4, 5, 6);
  assert.deepEqual(await hasty.arrived(), ['page 0:0', 'page 0:4', 'zero 0:5', 'page 0:6']);
  assert.equal(hasty.pages.stats().busy, 3);
  hasty.threads.finish();
  await hasty.send(0, 8);
  assert.deepEqual(await hasty.arrived(), ['compressed 0:2']);
});

test('the statistics are of the records, and the rates of the last period', async () => {
  const { pages, threads, send } = await setUp(1, { compressWaitThread: false });
  await send(0, 0, 1, 2, 4);
  await send(0, 6, 8);
  await pages.flush();
  const first = pages.stats();
  assert.equal(pages.zeroPages, 1);
  assert.deepEqual({ pages: first.pages, busy: first.busy }, { pages: 2, busy: 2 });
  assert.deepEqual([first.busyRate, first.compressionRate], [0, 0]);
  pages.endPeriod(8);
  const { busyRate, compressionRate, compressedSize } = pages.stats();
  assert.equal(busyRate, 2 / 8);
  assert.equal(compressionRate, (2 * 4096) / compressedSize);
  // 8 bytes of word, 4 of length; QEMU does not count the word.
  assert.equal(compressedSize, pages.recordBytes - 9 - 2 * 8);
  await send(0, 10);
  threads.finish();
  pages.endPeriod(8);
  assert.equal(pages.stats().busyRate, 2 / 8, 'a period without a page changes nothing');
});

test('machine types that no QEMU with compress threads has are refused, but for the built-in machine', () => {
  const options = resolveMigrateOptions({ compress: true });
  for (const machine of ['pc-q35-9.0', 'pc-i440fx-7.2', 'microvm', 'pageferry-builtin-10.0'])
    protocolSwitches(machine, options);
  for (const machine of ['pc-q35-9.1', 'virt-10.0'])
    assert.throws(() => protocolSwitches(machine, options), {
      code: 'bad-option',
      message: /compress.*9\.0/,
    });
});
