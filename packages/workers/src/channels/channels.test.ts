import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { afterEach } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { PageReceiver, PageSender } from '@pageferry/core';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import { RamBlock } from '@pageferry/core/memory';
import { type Listener, listen, parseUri, type SocketAddress } from '@pageferry/core/transport';
import { CODECS } from '../codecs/registry.ts';
import type { ChannelIo } from './channel-io.ts';
import { createThreadedPageReceiver } from './receiver.ts';
import { createThreadedPageSender } from './sender.ts';

/** Senders and receivers with all their threads, over real sockets. */

const PAGE = 4096;

/** What a test opened: a failed one must not leave anything that keeps the process alive. */
const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

interface Config {
  compression: MultifdCompression;
  channels: number;
  backend?: CodecBackend;
  io?: ChannelIo;
  uri?: string;
  zeroPagesInPackets?: boolean;
  maxBandwidthBytesPerSecond?: number;
  isStill?: boolean;
  blocks?: [string, number][];
}

interface Pair {
  source: RamBlock[];
  destination: RamBlock[];
  sender: PageSender;
  receiver: PageReceiver<import('node:net').Socket>;
  listener: Listener;
}

async function connect(config: Config): Promise<Pair> {
  const { compression, channels, backend, uri = 'tcp:127.0.0.1:0' } = config;
  const blocks = config.blocks ?? [
    ['pc.ram', 700],
    ['pc.bios', 16],
  ];
  const source = blocks.map(([name, pages]) => RamBlock.allocate(name, pages * PAGE));
  const destination = blocks.map(([name, pages]) => RamBlock.allocate(name, pages * PAGE));
  const listener = await listen(parseUri(uri), { backlog: channels, firstBytesTimeoutMs: 5000 });
  const receiver = createThreadedPageReceiver({ channels, compression, io: config.io });
  const sender = createThreadedPageSender({
    io: config.io,
    address: parseUri(listener.address) as SocketAddress,
    channels,
    compression,
    backend,
    zlibLevel: 1,
    zstdLevel: 1,
    zeroPagesInPackets: config.zeroPagesInPackets ?? true,
    maxBandwidthBytesPerSecond: config.maxBandwidthBytesPerSecond,
    isStill: config.isStill,
    connectTimeoutMs: 5000,
  });
  const over = new Error('the test is over');
  opened.push(() => Promise.all([sender.abort(over), receiver.abort(over), listener.close()]));
  const opening = sender.open(source);
  for (let i = 0; i < channels; i++) {
    const accepted = await listener.accept();
    assert.equal(accepted.kind, 'multifd');
    await receiver.adopt(accepted.channel, accepted.connection);
  }
  await opening;
  await sync({ sender, receiver }, () => receiver.setBlocks(destination));
  return { source, destination, sender, receiver, listener };
}

async function sync(
  { sender, receiver }: Pick<Pair, 'sender' | 'receiver'>,
  between = () => {},
): Promise<void> {
  await sender.sync();
  await receiver.synced();
  between();
  receiver.release();
}

async function close({ sender, receiver, listener }: Pair): Promise<void> {
  await Promise.all([sender.close(), receiver.close()]);
  await listener.close();
}

async function submit(sender: PageSender, block: number, pages: number[]): Promise<void> {
  for (let at = 0; at < pages.length; at += sender.pagesPerSubmit) {
    const list = Uint32Array.from(pages.slice(at, at + sender.pagesPerSubmit));
    while (!sender.submit(block, list, list.length)) await sender.drained();
  }
}

/** Fills pages with text-like or noisy bytes, or zeros. */
function write(block: RamBlock, page: number, kind: number, seed: number): void {
  const bytes = block.bytes.subarray(page * PAGE, (page + 1) * PAGE);
  if (kind === 0) {
    bytes.fill(0);
    return;
  }
  let state = (seed * 2654435761 + page) >>> 0;
  for (let i = 0; i < PAGE; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = kind === 1 ? 97 + ((state >>> 28) % 8) : state >>> 24;
  }
}

function assertSame({ source, destination }: Pair, message: string): void {
  for (const [i, block] of source.entries()) {
    assert.equal(Buffer.compare(block.bytes, destination[i]!.bytes), 0, `${message}: ${block.idstr}`);
  }
}

const CONFIGS: Config[] = [
  { compression: 'none', channels: 1 },
  { compression: 'none', channels: 2 },
  { compression: 'none', channels: 4 },
  { compression: 'none', channels: 2, zeroPagesInPackets: false },
  { compression: 'zlib', channels: 2 },
  { compression: 'zlib', channels: 1, backend: 'pako' },
  { compression: 'zstd', channels: 1 },
  { compression: 'zstd', channels: 4 },
  { compression: 'zstd', channels: 2, isStill: true },
  { compression: 'zstd', channels: 2, backend: 'mongodb-zstd' },
  { compression: 'zstd', channels: 2, backend: 'minizlib' },
  { compression: 'lz4', channels: 2 },
  { compression: 'adaptive', channels: 2 },
  { compression: 'adaptive', channels: 2, io: 'event-loop' },
  { compression: 'none', channels: 2, io: 'event-loop' },
  { compression: 'none', channels: 2, io: 'event-loop', zeroPagesInPackets: false },
  { compression: 'zlib', channels: 2, io: 'event-loop' },
  { compression: 'zstd', channels: 2, io: 'event-loop' },
];

for (const config of CONFIGS) {
  const { compression, channels, backend, io, isStill, zeroPagesInPackets = true } = config;
  const zeros = zeroPagesInPackets ? '' : ', zero pages as normal ones';
  test(`${compression}${backend ? ` by ${backend}` : ''}, ${channels} channels${zeros}${isStill ? ', a guest that stands still' : ''}${io ? `, ${io}` : ''}`, async () => {
    const pair = await connect(config);
    const { source, sender, receiver } = pair;
    let normal = 0;
    let zero = 0;
    for (let round = 1; round <= 4; round++) {
      for (const [index, block] of source.entries()) {
        const pages: number[] = [];
        for (let page = 0; page < block.pageCount; page++) {
          // The first round sends everything, later ones a part, among it pages that become zero again.
          if (round > 1 && (page * 7 + round) % 3 !== 0) continue;
          const kind = (page * 31 + round * 17) % 4;
          write(block, page, kind, round);
          pages.push(page);
          if (kind === 0 && zeroPagesInPackets) zero++;
          else normal++;
        }
        await submit(sender, index, pages);
      }
      await sync(pair);
      assertSame(pair, `round ${round}`);
    }
    await sender.flushed();
    const sent = sender.stats();
    assert.equal(sum(sent, 'normalPages'), normal);
    assert.equal(sum(sent, 'zeroPages'), zero);
    assert.ok(sent.every((channel) => channel.packets >= 5, 'every channel took part'));
    await close(pair);
    // Both sides count the same, to the byte.
    for (const [i, { stalledMs: _, ...counted }] of receiver.stats().entries()) {
      const { stalledMs: _stalled, ...expected } = sender.stats()[i]!;
      assert.deepEqual(counted, expected);
    }
    if (compression === 'none') {
      const bytes = channels * 64 + sum(sent, 'packets') * 1344 + normal * PAGE;
      assert.equal(sum(sent, 'bytes'), bytes);
    }
  });
}

test('adaptive: the limit of the link reaches the channels', async () => {
  const ratios: number[] = [];
  for (const maxBandwidthBytesPerSecond of [5_000_000, 40_000_000_000]) {
    const pair = await connect({ compression: 'adaptive', channels: 2, maxBandwidthBytesPerSecond });
    const pages = range(0, 700);
    for (const page of pages) write(pair.source[0]!, page, 1, 1);
    await submit(pair.sender, 0, pages);
    await sync(pair);
    assertSame(pair, `${maxBandwidthBytesPerSecond}`);
    await pair.sender.flushed();
    ratios.push(sum(pair.sender.stats(), 'bytes') / (700 * PAGE));
    await close(pair);
  }
  assert.ok(ratios[0]! < 0.7, `a slow link: ${ratios[0]}`);
  assert.ok(ratios[1]! > 1, `a fast one gets pages as they are: ${ratios[1]}`);
});

for (const io of ['blocking', 'event-loop'] as const) {
  test(`over unix sockets, ${io}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pageferry-channels-'));
    const sockets = openSockets();
    try {
      const pair = await connect({
        io,
        compression: 'zstd',
        channels: 2,
        uri: `unix:${join(folder, 'socket')}`,
      });
      for (let page = 0; page < 700; page++) write(pair.source[0]!, page, page % 3, 1);
      await submit(
        pair.sender,
        0,
        Array.from({ length: 700 }, (_, page) => page),
      );
      await sync(pair);
      assertSame(pair, 'unix');
      await close(pair);
      // The duplicates of the descriptors are closed as well.
      for (let i = 0; i < 40 && openSockets() > sockets; i++) await delay(25);
      assert.equal(openSockets(), sockets);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

for (const io of ['blocking', 'event-loop'] as const) {
  test(`pages beyond 4 GiB of a block go to their places, ${io}`, async () => {
    const first = 2 ** 32 / PAGE;
    const pair = await connect({ io, compression: 'none', channels: 1, blocks: [['pc.ram', first + 300]] });
    const source = pair.source[0]!;
    const low = [0, 2, ...range(64, 20)];
    const high = [...range(first - 20, 40), first + 100, ...range(first + 200, 30)];
    for (const page of [...low, ...high]) write(source, page, page % 2 === 0 ? 2 : 1, page);
    await submit(pair.sender, 0, [...low, ...high]);
    await sync(pair);
    const destination = pair.destination[0]!;
    for (const page of [...low, ...high, 1, 3, first + 150]) {
      const [from, to] = [source, destination].map((b) => b.bytes.subarray(page * PAGE, (page + 1) * PAGE));
      assert.equal(Buffer.compare(from!, to!), 0, `page ${page}`);
    }
    await close(pair);
  });
}

test('the level reaches the workers', async () => {
  const pair = await connect({ compression: 'zlib', channels: 1 });
  for (let page = 0; page < 128; page++) write(pair.source[0]!, page, 1, 1);
  await submit(pair.sender, 0, range(0, 128));
  await sync(pair);
  const bytes = sum(pair.receiver.stats(), 'bytes');
  assert.ok(bytes < 128 * PAGE * 0.7, `${bytes} bytes`);
  await close(pair);
});

test('the backend is checked before anything is started', () => {
  const options = {
    channels: 1,
    zlibLevel: 1,
    zstdLevel: 1,
    zeroPagesInPackets: true,
    connectTimeoutMs: 1000,
  };
  const address = parseUri('tcp:127.0.0.1:1') as SocketAddress;
  assert.throws(
    () => createThreadedPageSender({ ...options, address, compression: 'zlib', backend: 'lz4-napi' }),
    { code: 'bad-option', found: 'lz4-napi', expected: `one of ${CODECS.zlib.compressBackends.join(', ')}` },
  );
  assert.throws(() => createThreadedPageSender({ ...options, address, compression: 'zstd', zstdLevel: 21 }), {
    code: 'bad-option',
  });
  assert.throws(
    () => createThreadedPageReceiver({ channels: 1, compression: 'zstd', backend: 'mongodb-zstd' }),
    { code: 'bad-option', expected: `one of ${CODECS.zstd.decompressBackends.join(', ')}` },
  );
});

test('sender and receiver are done when there is nothing to do', async () => {
  const pair = await connect({ compression: 'none', channels: 2 });
  await pair.sender.flushed();
  await pair.sender.drained();
  await close(pair);
});

/** Sockets among this process's descriptors. */
function openSockets(): number {
  let count = 0;
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:')) count++;
    } catch {
      // The descriptor that lists the folder is gone.
    }
  }
  return count;
}

function sum<K extends string>(stats: readonly Record<K, number>[], key: K): number {
  return stats.reduce((total, channel) => total + channel[key], 0);
}

function range(start: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => start + i);
}
