import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { RamBlock } from '@pageferry/core/memory';
import { parseUri, type SocketAddress } from '@pageferry/core/transport';
import { loadSystemCalls } from '../system/system-calls.ts';
import { ChannelCells } from './channel-cells.ts';
import { createOwnJob, JOB_RING_BYTES, JobKind, JobRing } from './job-ring.ts';
import { createThreadedPageSender } from './sender.ts';

/** Channels that take over the pages of one that does not get on. */

const PAGE = 4096;

function ring() {
  const cells = ChannelCells.create(JOB_RING_BYTES);
  return { cells, ring: new JobRing(cells) };
}

test('pages are taken once, by whoever comes first, and never a SYNC', () => {
  const { cells, ring: owner } = ring();
  const thief = new JobRing(cells);
  const job = createOwnJob();
  const pages = Uint32Array.of(7, 9, 11);
  for (let i = 0; i < 3; i++) assert.ok(owner.push(JobKind.pages, i, pages, 3));
  assert.ok(owner.push(JobKind.sync));
  assert.ok(owner.push(JobKind.pages, 3, pages, 2));
  assert.ok(owner.claim(job));
  assert.equal(job.block, 0);
  assert.equal(thief.steal(job, 0, 5), false, 'too few wait');
  assert.ok(thief.steal(job, 0, 4));
  assert.deepEqual([job.block, job.count, [...job.pages.subarray(0, 3)]], [1, 3, [7, 9, 11]]);
  assert.ok(owner.claim(job));
  assert.equal(job.block, 2);
  // The SYNC is the owner's, and who has not sent one takes nothing from behind it.
  assert.equal(owner.claim(job), false);
  assert.equal(thief.steal(job, 0, 1), false);
  cells.countSync();
  owner.shift();
  assert.equal(thief.steal(job, 0, 1), false);
  assert.equal(owner.length, 1);
  assert.ok(thief.steal(job, 1, 1));
  assert.deepEqual([job.block, job.count], [3, 2]);
  assert.equal(owner.claim(job), false);
});

const skip = (await loadSystemCalls()) === undefined ? 'no blocking channels on this platform' : false;

test('a channel whose link stalls does not keep its queued pages', { skip }, async () => {
  // Reads what comes on one connection, and nothing on the other.
  const sockets: Socket[] = [];
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => {});
    sockets.push(socket);
    if (sockets.length === 2) socket.resume();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const sender = createThreadedPageSender({
    address: parseUri(`tcp:127.0.0.1:${port}`) as SocketAddress,
    channels: 2,
    compression: 'none',
    zlibLevel: 1,
    zstdLevel: 1,
    zeroPagesInPackets: false,
    connectTimeoutMs: 5000,
  });
  try {
    // 80 packets of 512 KiB: more than the stalled connection's buffers hold.
    const packets = 80;
    const block = RamBlock.allocate('pc.ram', packets * 128 * PAGE);
    await sender.open([block]);
    for (let packet = 0; packet < packets; packet++) {
      const pages = Uint32Array.from({ length: 128 }, (_, i) => packet * 128 + i);
      while (!sender.submit(0, pages, 128)) await sender.drained();
    }
    await sender.sync();
    const sent = () => sender.stats().map(({ normalPages }) => normalPages / 128);
    // All but the packet that the stalled channel is in leave; that one as well where its buffers hold all it took.
    for (let i = 0; i < 200 && sent()[0]! + sent()[1]! < packets - 1; i++) await delay(20);
    const left = packets - sent()[0]! - sent()[1]!;
    assert.ok(left <= 1, `${left} packets stayed`);
  } finally {
    await sender.abort(new Error('the test is over'));
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});
