import assert from 'node:assert/strict';
import test from 'node:test';
import { RamBlock } from '../memory/ram-block.ts';
import { MemoryChannel } from '../testing/memory-channel.ts';
import { StreamDecoder } from '../wire/stream-decoder.ts';
import { MainPages } from './main-pages.ts';
import { MainStreamWriter } from './main-stream.ts';

test('a page beyond 4 GiB carries its own bytes', async () => {
  const block = RamBlock.allocate('pc.ram', 5 * 2 ** 30);
  const far = 2 ** 20 + 2;
  block.bytes.fill(7, 2 * 4096, 3 * 4096);
  block.bytes.fill(9, far * 4096, (far + 1) * 4096);
  const [near, other] = MemoryChannel.pair();
  const stream = new MainStreamWriter(near, 2);
  stream.header({ machine: 'pc-i440fx-10.0' });
  stream.ramStart([block]);
  const pages = new MainPages(near, [block]);
  pages.addPage(0, far);
  pages.addPage(0, 2);
  pages.addZero(0, far + 1);
  pages.flush();
  const decoder = new StreamDecoder();
  const seen: unknown[] = [];
  for (let i = 0; i < 5; i++) {
    decoder.push((await other.read())!);
    for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
      if (message.type === 'ram-page') seen.push([message.pageIndex, message.data[0], message.data[4095]]);
      if (message.type === 'ram-zero') seen.push([message.pageIndex, 'zero']);
    }
  }
  assert.deepEqual(seen, [
    [far, 9, 9],
    [2, 7, 7],
    [far + 1, 'zero'],
  ]);
});

test('bytes of records are counted as QEMU counts them', () => {
  // The guest of the recorded stop-and-copy: QEMU told 1650756 bytes, with the 8 that end a section.
  const blocks = ['pc.ram', 'pc.bios', 'pc.rom'].map((name) => RamBlock.allocate(name, 4096 * 4096));
  const [near] = MemoryChannel.pair();
  const pages = new MainPages(near, blocks);
  for (let page = 0; page < 392; page++) pages.addPage(0, page);
  for (let page = 392; page < 392 + 3748; page++) pages.addZero(0, page % 4096);
  for (const block of [1, 2]) {
    pages.addPage(block, 0);
    pages.addZero(block, 1);
  }
  pages.flush();
  assert.deepEqual([pages.normalPages, pages.zeroPages], [394, 3750]);
  assert.equal(pages.recordBytes + 8, 1_650_756);
});

test('buffers that are still queued are not written again', async () => {
  const block = RamBlock.allocate('pc.ram', 2 ** 24);
  for (let page = 0; page < block.pageCount; page++) block.bytes[page * 4096] = page & 0xff;
  const [near, other] = MemoryChannel.pair();
  const pages = new MainPages(near, [block]);
  // Many small flushes, as the ends of sections make them, before the peer has read anything.
  for (let page = 0; page < 100; page++) {
    pages.addPage(0, page);
    pages.flush();
  }
  let at = 0;
  for (let page = 0; page < 100; page++) {
    const record = (await other.read())!;
    const head = page === 0 ? 8 + 7 : 8;
    assert.equal(record.length, head + 4096);
    assert.equal(record[head], page);
    at += record.length;
  }
  assert.equal(near.bytesWritten, at);
});
