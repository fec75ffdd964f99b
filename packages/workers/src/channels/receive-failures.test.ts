import assert from 'node:assert/strict';
import { createConnection, type Socket } from 'node:net';
import test, { afterEach } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError, type PageReceiver } from '@pageferry/core';
import type { MultifdCompression } from '@pageferry/core/control';
import { RamBlock } from '@pageferry/core/memory';
import { type Listener, listen, parseUri } from '@pageferry/core/transport';
import {
  createMultifdPacket,
  encodeMultifdHandshake,
  encodeMultifdPacket,
  MULTIFD_PACKET_BYTES,
  MultifdFlag,
} from '@pageferry/core/wire';
import { assertThreadsGone, rejection, threads } from '../../../core/src/testing/leftovers.ts';
import type { ChannelIo } from './channel-io.ts';
import { createThreadedPageReceiver } from './receiver.ts';

/** Receiving channels with a source that misbehaves: plain sockets play it. */

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

function connectTo(port: number): Socket {
  const socket = createConnection(port, '127.0.0.1');
  socket.on('error', () => {});
  opened.push(() => socket.destroy());
  return socket;
}

interface Destination {
  listener: Listener;
  receiver: PageReceiver<Socket>;
  sockets: Socket[];
  block: RamBlock;
}

/** A receiver with its channels connected to sockets of ours. */
async function destination(
  channels: number,
  compression: MultifdCompression = 'none',
  closeTimeoutMs?: number,
): Promise<Destination> {
  const listener = await listen(parseUri('tcp:127.0.0.1:0'), {
    backlog: channels,
    firstBytesTimeoutMs: 5000,
  });
  opened.push(() => listener.close());
  const address = parseUri(listener.address) as { port: number };
  const receiver = createThreadedPageReceiver({ channels, compression, closeTimeoutMs, io });
  opened.push(() => receiver.abort(new Error('the test is over')));
  const sockets: Socket[] = [];
  for (let channel = 0; channel < channels; channel++) {
    const socket = connectTo(address.port);
    socket.write(encodeMultifdHandshake({ channel }));
    sockets.push(socket);
    const accepted = await listener.accept();
    assert.equal(accepted.kind, 'multifd');
    await receiver.adopt(accepted.channel, accepted.connection);
  }
  return { listener, receiver, sockets, block: RamBlock.allocate('pc.ram', 256 * PAGE) };
}

function syncPacket(): Uint8Array {
  const header = new Uint8Array(MULTIFD_PACKET_BYTES);
  encodeMultifdPacket({ ...createMultifdPacket(), flags: MultifdFlag.sync }, header);
  return header;
}

function pagePacket(
  pages: number,
  flags = 0,
  payload: Uint8Array = new Uint8Array(pages * PAGE).fill(7),
): Buffer {
  const header = new Uint8Array(MULTIFD_PACKET_BYTES);
  const packet = createMultifdPacket();
  packet.flags = flags;
  packet.pagesAlloc = 128;
  packet.normalPages = pages;
  packet.payloadBytes = payload.length;
  packet.blockName = 'pc.ram';
  for (let i = 0; i < pages; i++) packet.pages[i] = i;
  encodeMultifdPacket(packet, header);
  return Buffer.concat([header, payload]);
}

async function firstSync({ receiver, sockets, block }: Destination): Promise<void> {
  for (const socket of sockets) socket.write(syncPacket());
  await receiver.synced();
  receiver.setBlocks([block]);
  receiver.release();
}

bothWays('a channel that ends inside a packet is named with the byte', async () => {
  const there = await destination(2);
  await firstSync(there);
  there.sockets[0]!.write(pagePacket(100));
  there.sockets[1]!.end(pagePacket(100).subarray(0, 5000));
  const synced = rejection(there.receiver.synced());
  const error = await rejection(there.receiver.failed);
  assert.equal(error.code, 'truncated');
  assert.equal(error.channel, 'multifd 1');
  assert.equal(error.offset, 64 + MULTIFD_PACKET_BYTES + 5000);
  assert.equal(await synced, error);
});

bothWays('a channel that ends before the sync that is waited for is an error, not a wait', async () => {
  const there = await destination(2);
  await firstSync(there);
  there.sockets[0]!.write(syncPacket());
  there.sockets[1]!.end();
  const error = await rejection(there.receiver.synced());
  assert.equal(error.code, 'truncated');
  assert.equal(error.channel, 'multifd 1');
});

bothWays('a reset connection is an error of its channel', async () => {
  const there = await destination(1);
  await firstSync(there);
  there.sockets[0]!.write(pagePacket(3));
  await delay(50);
  there.sockets[0]!.resetAndDestroy();
  const error = await rejection(there.receiver.failed);
  assert.equal(error.code, 'connection-lost');
  assert.equal(error.channel, 'multifd 0');
  assert.equal(error.offset, 64 + 2 * MULTIFD_PACKET_BYTES + 3 * PAGE);
});

for (const [compression, what, bytes, code] of [
  ['none', 'a wrong magic', Buffer.alloc(2000, 0x41), 'bad-magic'],
  ['none', 'another compression', pagePacket(3, MultifdFlag.zlib, Buffer.alloc(10)), 'compression-mismatch'],
  ['zlib', 'garbage', pagePacket(3, MultifdFlag.zlib, Buffer.alloc(10, 9)), 'bad-compressed-data'],
  ['zstd', 'garbage', pagePacket(3, MultifdFlag.zstd, Buffer.alloc(1 << 20, 9)), 'bad-compressed-data'],
] as const) {
  bothWays(`${what} on a ${compression} channel keeps its code on the way out of the thread`, async () => {
    const there = await destination(1, compression);
    await firstSync(there);
    there.sockets[0]!.write(bytes);
    const error = await rejection(there.receiver.failed);
    assert.equal(error.code, code);
    assert.equal(error.channel, 'multifd 0');
    assert.ok(error.offset !== undefined && error.offset >= 64 + MULTIFD_PACKET_BYTES);
  });
}

bothWays('pages that come before the first release are an error', async () => {
  const there = await destination(1);
  there.sockets[0]!.write(pagePacket(1));
  assert.equal((await rejection(there.receiver.failed)).code, 'sync-mismatch');
});

bothWays('a channel reads nothing between its SYNC and the release', async () => {
  const there = await destination(1);
  await firstSync(there);
  there.sockets[0]!.write(Buffer.concat([syncPacket(), pagePacket(5)]));
  await there.receiver.synced();
  await delay(50);
  assert.ok(there.block.bytes.every((byte) => byte === 0));
  there.receiver.release();
  there.sockets[0]!.write(syncPacket());
  await there.receiver.synced();
  assert.equal(there.block.bytes[5 * PAGE - 1], 7);
  there.receiver.release();
  there.sockets[0]!.end();
  await there.receiver.close();
});

bothWays('a receiver is aborted at once: idle, in a packet, and waiting for a release', async () => {
  for (const state of ['idle', 'in a packet', 'synced']) {
    const before = threads();
    const there = await destination(2);
    await firstSync(there);
    if (state === 'in a packet') there.sockets[0]!.write(pagePacket(9).subarray(0, 9000));
    if (state === 'synced') for (const socket of there.sockets) socket.write(syncPacket());
    const synced = state === 'synced' ? there.receiver.synced() : rejection(there.receiver.synced());
    if (state === 'synced') await synced;
    const start = performance.now();
    await there.receiver.abort(new MigrationError('cancelled', 'enough'));
    assert.ok(performance.now() - start < 1000, state);
    if (state !== 'synced') assert.equal(((await synced) as MigrationError).code, 'cancelled');
    await assertThreadsGone(before, state);
  }
});

bothWays('close does not wait for ever for a source that keeps its channels open', async () => {
  const there = await destination(2, 'none', 100);
  await firstSync(there);
  there.sockets[0]!.end();
  const start = performance.now();
  await there.receiver.close();
  const tookMs = performance.now() - start;
  assert.ok(tookMs >= 100 && tookMs < 1500, `${tookMs} ms`);
});

bothWays('pages that come after the last sync are an error and are not written', async () => {
  const there = await destination(1);
  await firstSync(there);
  there.receiver.seal();
  const closed = rejection(there.receiver.close());
  there.sockets[0]!.write(pagePacket(1));
  assert.equal((await closed).code, 'sync-mismatch');
  assert.ok(there.block.bytes.every((byte) => byte === 0));
});

bothWays('memory that pages still come to is not taken for complete', async () => {
  const there = await destination(1);
  await firstSync(there);
  // The head of a packet, and a part of its page.
  there.sockets[0]!.write(pagePacket(1).subarray(0, -1000));
  while (there.receiver.stats()[0]!.bytes < 64 + 2 * 1344) await delay(2);
  await delay(20);
  assert.throws(() => there.receiver.seal(), { code: 'sync-mismatch', channel: 'multifd 0' });
  await there.receiver.abort(new Error('done'));
});

bothWays('sync points that are not those of the main stream are an error', async () => {
  const never = await destination(1);
  assert.throws(() => never.receiver.seal(), { code: 'sync-mismatch', channel: 'multifd 0' });
  await never.receiver.abort(new Error('done'));
  const more = await destination(1);
  await firstSync(more);
  more.sockets[0]!.write(syncPacket());
  while (more.receiver.stats()[0]!.packets < 2) await delay(2);
  assert.throws(() => more.receiver.seal(), { code: 'sync-mismatch', expected: '1' });
  await more.receiver.abort(new Error('done'));
});

bothWays('a connection that was closed before it is adopted is lost, not a defect', async () => {
  const receiver = createThreadedPageReceiver({ channels: 1, compression: 'none', io });
  const socket = connectTo(1);
  socket.destroy();
  const error = await rejection(receiver.adopt(0, socket));
  assert.equal(error.code, 'connection-lost');
  assert.equal(error.channel, 'multifd 0');
});

bothWays('channel ids are checked', async () => {
  const there = await destination(1);
  assert.equal((await rejection(there.receiver.adopt(0, connectTo(1)))).code, 'duplicate-channel');
  assert.equal((await rejection(there.receiver.adopt(1, connectTo(1)))).code, 'bad-channel-id');
  await there.receiver.abort(new Error('done'));
  assert.equal(await there.receiver.adopt(0, connectTo(1)).catch((error: Error) => error.message), 'done');
});
