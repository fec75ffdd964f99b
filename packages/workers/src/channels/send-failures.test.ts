import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import test, { afterEach } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { MigrationError, type PageSender } from '@pageferry/core';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import { RamBlock } from '@pageferry/core/memory';
import type { SocketAddress } from '@pageferry/core/transport';
import { assertThreadsGone, rejection, threads } from '../../../core/src/testing/leftovers.ts';
import type { ChannelIo } from './channel-io.ts';
import { createThreadedPageSender } from './sender.ts';

/** Sending channels with a destination that misbehaves: plain sockets play it. */

const PAGE = 4096;

/** How the channels' threads wait, in the test that runs. */
let io: ChannelIo = 'blocking';

/** A test of blocking channels, and of those on the event loop. */
function bothWays(name: string, body: () => Promise<void>): void {
  for (const way of ['blocking', 'event-loop'] as const) {
    test(`${name} (${way})`, () => {
      io = way;
      return body();
    });
  }
}

/** What a test opened: a failed one must not leave anything that keeps the process alive. */
const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

function makeSender(
  address: SocketAddress,
  channels = 1,
  compression: MultifdCompression = 'none',
  backend?: CodecBackend,
): PageSender {
  const sender = createThreadedPageSender({
    io,
    address,
    channels,
    compression,
    backend,
    zlibLevel: 1,
    zstdLevel: 1,
    zeroPagesInPackets: true,
    connectTimeoutMs: 2000,
  });
  opened.push(() => sender.abort(new Error('the test is over')));
  return sender;
}

/** A destination that accepts and does what `onSocket` says. */
async function peer(onSocket: (socket: Socket) => void): Promise<{ address: SocketAddress; server: Server }> {
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    opened.push(() => socket.destroy());
    onSocket(socket);
  });
  opened.push(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return { address: { transport: 'tcp', host: '127.0.0.1', port }, server };
}

function noisyBlock(pages: number): RamBlock {
  const block = RamBlock.allocate('pc.ram', pages * PAGE);
  for (let at = 0; at < block.bytes.length; at += 16) block.bytes[at] = 1 + (at % 255);
  return block;
}

/** Submits pages until no channel takes more for a while. */
async function fillUp(sender: PageSender, block: RamBlock): Promise<void> {
  const pages = new Uint32Array(128);
  for (let first = 0; ; first = (first + 128) % (block.pageCount - 127)) {
    for (let i = 0; i < 128; i++) pages[i] = first + i;
    while (!sender.submit(0, pages, 128)) {
      const before = bytesOf(sender);
      const moved = await Promise.race([sender.drained().then(() => true), delay(300, false)]);
      if (!moved && bytesOf(sender) === before) return;
    }
  }
}

function bytesOf(sender: PageSender): number {
  return sender.stats().reduce((sum, { bytes }) => sum + bytes, 0);
}

for (const [compression, backend] of [['none'], ['zstd'], ['zstd', 'mongodb-zstd']] as const) {
  bothWays(
    `a sender is aborted within a second while its destination reads nothing (${backend ?? compression})`,
    async () => {
      const { address } = await peer(() => {});
      const sender = makeSender(address, 2, compression, backend);
      const block = noisyBlock(4096);
      // The thread pool of the libraries stays, once it is there.
      await readdir('/');
      const before = threads();
      await sender.open([block]);
      await fillUp(sender, block);
      const waiting = [sender.drained(), sender.flushed()].map(rejection);
      const start = performance.now();
      const reason = new MigrationError('cancelled', 'enough');
      await sender.abort(reason);
      const tookMs = performance.now() - start;
      assert.ok(tookMs < 1000, `${tookMs} ms`);
      for (const error of await Promise.all(waiting)) assert.equal(error, reason);
      assert.equal(await rejection(sender.failed), reason);
      assert.equal(sender.submit(0, new Uint32Array(1), 1), false);
      await assertThreadsGone(before, compression);
    },
  );
}

function connectTo(port: number): void {
  const socket = createConnection(port, '127.0.0.1');
  socket.on('error', () => {});
  opened.push(() => socket.destroy());
}

/** Listens and never accepts: once the kernel's queue is full, a connection attempt gets no answer. */
const DEAF = `
  const { createServer } = require('node:net');
  const { parentPort } = require('node:worker_threads');
  const server = createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    parentPort.postMessage(server.address().port);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });
`;

bothWays('a sender is aborted while it connects', async () => {
  const deaf = new Worker(DEAF, { eval: true });
  opened.push(() => deaf.terminate());
  const [port] = (await once(deaf, 'message')) as [number];
  for (let i = 0; i < 4; i++) connectTo(port);
  await delay(100);
  const sender = makeSender({ transport: 'tcp', host: '127.0.0.1', port }, 2);
  const opening = rejection(sender.open([noisyBlock(1)]));
  await delay(300);
  const start = performance.now();
  const reason = new MigrationError('cancelled', 'enough');
  await sender.abort(reason);
  assert.ok(performance.now() - start < 1000);
  assert.equal(await opening, reason);
});

bothWays('a destination that refuses connections is named', async () => {
  const { address, server } = await peer(() => {});
  await new Promise((resolve) => server.close(resolve));
  const sender = makeSender(address, 2);
  const error = await rejection(sender.open([noisyBlock(1)]));
  assert.equal(error.code, 'connect-failed');
  assert.match(error.channel ?? '', /^multifd [01]$/);
  assert.equal(await rejection(sender.failed), error);
});

bothWays('a destination that goes away fails the sender, naming channel and byte', async () => {
  let received = 0;
  const { address } = await peer((socket) => {
    socket.on('data', (chunk) => {
      received += chunk.length;
      if (received > 3_000_000) socket.resetAndDestroy();
    });
    socket.resume();
  });
  const sender = makeSender(address);
  const block = noisyBlock(4096);
  await sender.open([block]);
  const error = await rejection(fillUp(sender, block));
  assert.equal(error.code, 'connection-lost');
  assert.equal(error.channel, 'multifd 0');
  assert.ok(error.offset !== undefined && error.offset >= 64, `${error.offset}`);
  assert.equal(await rejection(sender.flushed()), error);
  assert.equal(await rejection(sender.close()), error);
});

bothWays('a lost connection fails a flush even when nothing more is submitted', async () => {
  const sockets: Socket[] = [];
  const { address } = await peer((socket) => sockets.push(socket));
  const sender = makeSender(address);
  const block = noisyBlock(4096);
  await sender.open([block]);
  await fillUp(sender, block);
  const flushed = rejection(sender.flushed());
  sockets[0]!.resetAndDestroy();
  assert.equal((await flushed).code, 'connection-lost');
});

bothWays('a destination may close a channel that has nothing left to send', async () => {
  const { address } = await peer((socket) => {
    socket.on('data', () => socket.end());
    socket.on('error', () => {});
    socket.resume();
  });
  const sender = makeSender(address, 2);
  await sender.open([noisyBlock(1)]);
  await delay(100);
  await sender.close();
});
