import assert from 'node:assert/strict';
import test from 'node:test';
import { resolveMigrateOptions } from '../control/options.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { MemoryChannel } from '../testing/memory-channel.ts';
import { TestGuest } from '../testing/test-guests.ts';
import { StreamDecoder } from '../wire/stream-decoder.ts';
import { decodeXbzrle } from '../wire/xbzrle.ts';
import { MainPages } from './main-pages.ts';
import { MainStreamWriter } from './main-stream.ts';
import { RamIteration } from './ram-iteration.ts';
import { XbzrlePages } from './xbzrle-pages.ts';

/** A source's pages with xbzrle, and a destination that has applied all records so far. */
function setUp(cacheSizeBytes: number) {
  const guest = new TestGuest();
  const live = resolveMigrateOptions({ xbzrle: true, xbzrleCacheSizeBytes: cacheSizeBytes });
  const ram = new RamIteration(guest.memory);
  const [near, far] = MemoryChannel.pair();
  const stream = new MainStreamWriter(near, 2);
  stream.header({ machine: guest.machine });
  stream.ramStart(ram.blocks);
  const pages = new XbzrlePages(new MainPages(near, ram.blocks), ram, live);
  const decoder = new StreamDecoder();
  const destination = ram.blocks.map((block) => new Uint8Array(block.usedLengthBytes));
  const seen: Record<string, number> = { 'ram-page': 0, 'ram-zero': 0, 'ram-xbzrle': 0 };

  async function arrive(): Promise<void> {
    pages.flush();
    while (far.bytesRead < near.bytesWritten) decoder.push((await far.read())!);
    for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
      if (message.type !== 'ram-page' && message.type !== 'ram-zero' && message.type !== 'ram-xbzrle')
        continue;
      seen[message.type]!++;
      const block = destination[message.blockIndex]!;
      const at = message.pageIndex * TARGET_PAGE_BYTES;
      if (message.type === 'ram-zero') block.fill(0, at, at + TARGET_PAGE_BYTES);
      else if (message.type === 'ram-page') block.set(message.data, at);
      else assert.equal(decodeXbzrle(message.data, 0, message.data.length, block, at), -1);
    }
  }

  /** As PageFlow does. */
  function send(block: number, page: number): void {
    if (pages.isZero(block, page)) pages.addZero(block, page);
    else pages.addPage(block, page);
  }

  function sendAll(): void {
    for (const [index, block] of ram.blocks.entries()) {
      for (let page = 0; page < block.pageCount; page++) send(index, page);
    }
  }

  function assertSame(): void {
    for (const [index, block] of ram.blocks.entries()) {
      assert.ok(Buffer.from(block.bytes).equals(destination[index]!), `${block.idstr} differs`);
    }
  }
  return { guest, live, ram, pages, near, destination, seen, arrive, send, sendAll, assertSame };
}

const PAGES = 308;

test('nothing is encoded before all of RAM was sent once; then a page is kept when it is sent again', async () => {
  const { ram, pages, seen, arrive, sendAll, send, assertSame } = setUp(512 * TARGET_PAGE_BYTES);
  sendAll();
  await arrive();
  assertSame();
  assert.deepEqual(seen, { 'ram-page': 154, 'ram-zero': 154, 'ram-xbzrle': 0 });
  assert.deepEqual([pages.normalPages, pages.zeroPages], [154, 154]);
  assert.equal(pages.stats().cacheMiss, 0);
  pages.start();
  const { bytes } = ram.blocks[0]!;
  send(0, 4);
  bytes[4 * 4096 + 7] = 99;
  send(0, 4);
  // The destination has it: nothing goes.
  send(0, 4);
  await arrive();
  assertSame();
  assert.deepEqual(seen, { 'ram-page': 155, 'ram-zero': 154, 'ram-xbzrle': 1 });
  const { cacheMiss, pages: hits, bytes: sent, overflow, cacheSize } = pages.stats();
  // Prefix and runs: 7 / 1, and the byte.
  assert.deepEqual([cacheMiss, hits, sent, overflow, cacheSize], [1, 2, 6, 0, 512 * 4096]);
  assert.equal(pages.normalPages, 155);
});

test('the name of another block counts as bytes of the changes', async () => {
  const { ram, pages, arrive, send, assertSame, sendAll } = setUp(512 * TARGET_PAGE_BYTES);
  sendAll();
  pages.start();
  send(1, 2);
  ram.blocks[1]!.bytes[2 * 4096] = 42;
  send(0, 1);
  send(1, 2);
  assert.equal(pages.stats().bytes, 1 + 'pc.rom'.length + 6);
  await arrive();
  assertSame();
});

test('a page that became zero is zero in the cache as well', async () => {
  const { ram, pages, seen, arrive, send, sendAll, assertSame } = setUp(512 * TARGET_PAGE_BYTES);
  sendAll();
  pages.start();
  send(0, 4);
  ram.blocks[0]!.bytes.fill(0, 4 * 4096, 5 * 4096);
  send(0, 4);
  ram.blocks[0]!.bytes[4 * 4096 + 4095] = 1;
  send(0, 4);
  await arrive();
  assertSame();
  assert.equal(seen['ram-xbzrle'], 1);
  assert.equal(pages.stats().bytes, 3 + 4);
});

test('a page that changed too much goes as it is, and is encoded the next time', async () => {
  const { ram, pages, seen, arrive, send, sendAll, assertSame } = setUp(512 * TARGET_PAGE_BYTES);
  sendAll();
  pages.start();
  send(0, 4);
  ram.blocks[0]!.bytes.fill(0xaa, 4 * 4096, 5 * 4096);
  send(0, 4);
  await arrive();
  assertSame();
  assert.deepEqual([pages.stats().overflow, pages.stats().bytes], [1, 4096]);
  assert.equal(pages.normalPages, 154 + 2);
  ram.blocks[0]!.bytes[4 * 4096] = 0;
  send(0, 4);
  await arrive();
  assertSame();
  assert.equal(seen['ram-xbzrle'], 1);
});

test('another size of the cache holds from the next page on, and begins empty', async () => {
  const { live, ram, pages, seen, arrive, send, sendAll, assertSame } = setUp(512 * TARGET_PAGE_BYTES);
  sendAll();
  pages.start();
  send(0, 4);
  live.xbzrleCacheSizeBytes = 4096;
  assert.equal(pages.stats().cacheSize, 4096);
  ram.blocks[0]!.bytes[4 * 4096] = 77;
  send(0, 4);
  assert.equal(pages.stats().cacheMiss, 2);
  ram.blocks[0]!.bytes[4 * 4096] = 78;
  send(0, 4);
  // The only slot is taken.
  send(0, 6);
  send(0, 6);
  assert.equal(pages.stats().cacheMiss, 4);
  await arrive();
  assertSame();
  assert.equal(seen['ram-xbzrle'], 1);
});

test('in the last stage nothing is kept any more', async () => {
  const { ram, pages, seen, arrive, send, sendAll, assertSame } = setUp(512 * TARGET_PAGE_BYTES);
  sendAll();
  pages.start();
  send(0, 4);
  pages.lastStage = true;
  ram.blocks[0]!.bytes[4 * 4096] = 77;
  send(0, 4);
  send(0, 6);
  await arrive();
  assertSame();
  assert.equal(seen['ram-xbzrle'], 1);
  send(0, 6);
  assert.equal(pages.stats().cacheMiss, 3);
});

test('rates of a period', () => {
  const { ram, pages, sendAll, send } = setUp(512 * TARGET_PAGE_BYTES);
  sendAll();
  pages.endPeriod();
  assert.deepEqual([pages.stats().cacheMissRate, pages.stats().encodingRate], [0, 0]);
  pages.start();
  for (const page of [0, 2, 4]) send(0, page);
  ram.blocks[0]!.bytes[0] = 77;
  send(0, 0);
  pages.endPeriod();
  assert.equal(pages.stats().cacheMissRate, 3 / 4);
  assert.equal(pages.stats().encodingRate, 4096 / 6);
  pages.endPeriod();
  assert.equal(pages.stats().cacheMissRate, 3 / 4, 'a period without a page says nothing');
  send(1, 1);
  pages.endPeriod();
  assert.deepEqual([pages.stats().cacheMissRate, pages.stats().encodingRate], [0, 0]);
});

for (const slots of [1, 16, 512]) {
  test(`a guest that writes all the time, with ${slots} slots: the destination has what was sent`, async () => {
    const { ram, pages, seen, arrive, send, sendAll, assertSame } = setUp(slots * TARGET_PAGE_BYTES);
    let state = slots;
    const random = (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      return Math.floor(((state >>> 0) / 2 ** 32) * below);
    };
    sendAll();
    pages.start();
    for (let pass = 0; pass < 12; pass++) {
      ram.sync();
      for (let write = 0; write < 200; write++) {
        const page = random(PAGES);
        const block = page < 300 ? 0 : 1;
        const { bytes } = ram.blocks[block]!;
        const start = (block === 0 ? page : page - 300) * 4096;
        const kind = random(10);
        if (kind === 0) bytes.fill(0, start, start + 4096);
        else if (kind === 1) for (let i = 0; i < 4096; i++) bytes[start + i] = random(256);
        // Few places and few values: what was changed is often changed back.
        else for (let i = 0; i <= random(12); i++) bytes[start + random(4) * 999] = random(2);
        send(block, block === 0 ? page : page - 300);
      }
      pages.lastStage = pass === 11;
      await arrive();
      assertSame();
    }
    // Now and then a page that has not changed.
    for (let page = 0; page < 300; page++) send(0, page);
    await arrive();
    assertSame();
    assert.ok(seen['ram-xbzrle']! > (slots === 1 ? 0 : 20), JSON.stringify(seen));
  });
}
