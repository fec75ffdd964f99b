import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { RECORD_BODY_LIMIT_BYTES } from '@pageferry/core/outgoing';
import { connect, parseUri } from '@pageferry/core/transport';
import { encodeCountedString, encodePageHeader, RamFlag } from '@pageferry/core/wire';
import { loadSystemCalls } from '../system/system-calls.ts';
import { DirectMainPages } from './direct-main-pages.ts';

const system = await loadSystemCalls();
const skip = system === undefined ? 'no system calls on this platform' : false;

async function connected() {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepting = once(server, 'connection');
  const { port } = server.address() as { port: number };
  const channel = await connect(parseUri(`tcp:127.0.0.1:${port}`), { timeoutMs: 5000 });
  const [peer] = (await accepting) as [Socket];
  server.close();
  return { channel, peer };
}

/** The bytes of a record as the format has them. */
function record(block: RamBlock, named: boolean, page: number, zero: boolean): Buffer {
  const bytes = Buffer.alloc(8 + 256 + TARGET_PAGE_BYTES);
  const name = named ? encodeCountedString(block.idstr) : undefined;
  const end = encodePageHeader(bytes, 0, name, page, zero ? RamFlag.zero : RamFlag.page);
  if (zero) return bytes.subarray(0, end + 1);
  const start = page * TARGET_PAGE_BYTES;
  bytes.set(block.bytes.subarray(start, start + TARGET_PAGE_BYTES), end);
  return bytes.subarray(0, end + TARGET_PAGE_BYTES);
}

/** The same of a record whose body is given. */
function recordWith(block: RamBlock, named: boolean, page: number, flag: number, body: Uint8Array): Buffer {
  const head = Buffer.alloc(8 + 256);
  const end = encodePageHeader(head, 0, named ? encodeCountedString(block.idstr) : undefined, page, flag);
  return Buffer.concat([head.subarray(0, end), body]);
}

test('records and other writes keep their order, whatever the kernel takes at once', { skip }, async () => {
  const { channel, peer } = await connected();
  const blocks = ['pc.ram', 'vga.vram'].map((name) => RamBlock.allocate(name, 4096 * TARGET_PAGE_BYTES));
  for (const [b, block] of blocks.entries()) {
    for (let page = 0; page < 4096; page++)
      block.bytes.fill(1 + b + (page % 200), page * 4096, page * 4096 + 4096);
  }
  const pages = new DirectMainPages(system!, channel, blocks);
  const expected: Buffer[] = [];
  let last = -1;
  // 24 MiB: far more than the buffers of a connection whose peer begins to read late.
  const reading = delay(100).then(async () => {
    const parts: Buffer[] = [];
    for await (const chunk of peer) parts.push(chunk as Buffer);
    return Buffer.concat(parts);
  });
  let normal = 0;
  let zeros = 0;
  /** Used again for each record: it must have been copied. */
  const body = Buffer.alloc(5 + RECORD_BODY_LIMIT_BYTES);
  let otherBytes = 0;
  for (let i = 0; i < 8000; i++) {
    const b = i % 1000 < 700 ? 0 : 1;
    const page = (i * 7) % 4096;
    const zero = i % 4 === 3;
    assert.equal(pages.nameBytes(b), b === last ? 0 : 1 + blocks[b]!.idstr.length);
    let room: boolean;
    if (i % 5 === 2) {
      const length = i % 3 === 0 ? TARGET_PAGE_BYTES : 3 + (i % (RECORD_BODY_LIMIT_BYTES - 3));
      const flag = i % 3 === 0 ? RamFlag.page : RamFlag.xbzrle;
      body.fill(i, 5, 5 + length);
      expected.push(recordWith(blocks[b]!, b !== last, page, flag, body.subarray(5, 5 + length)));
      room = pages.addRecord(b, page, flag, body, 5, length);
      if (flag === RamFlag.page) normal++;
    } else {
      expected.push(record(blocks[b]!, b !== last, page, zero));
      if (zero) zeros++;
      else normal++;
      room = zero ? pages.addZero(b, page) : pages.addPage(b, page);
    }
    last = b;
    if (!room) await pages.drained();
    if (i % 611 === 0) {
      const other = Buffer.from(`between ${i}`);
      pages.flush();
      channel.write(other);
      expected.push(other);
      otherBytes += other.length;
    }
  }
  pages.flush();
  const all = Buffer.concat(expected);
  await channel.flushed();
  assert.equal(channel.bytesWritten, all.length);
  assert.equal(pages.recordBytes, all.length - otherBytes);
  assert.deepEqual([pages.normalPages, pages.zeroPages], [normal, zeros]);
  await Promise.all([channel.close(), reading.then((got) => assert.ok(got.equals(all)))]);
});

test('a connection that breaks rejects whoever waits for room', { skip }, async () => {
  const { channel, peer } = await connected();
  const block = RamBlock.allocate('pc.ram', 1024 * TARGET_PAGE_BYTES);
  const pages = new DirectMainPages(system!, channel, [block]);
  setTimeout(() => peer.resetAndDestroy(), 50);
  await assert.rejects(
    async () => {
      for (let i = 0; ; i++) if (!pages.addPage(0, i % 1024)) await pages.drained();
    },
    { code: 'connection-lost' },
  );
  channel.destroy(new Error('the test is over'));
});
