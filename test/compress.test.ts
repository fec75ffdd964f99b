import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect as connectTo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { inflateSync } from 'node:zlib';
import { MigrationError } from '@pageferry/core';
import { loadCapture } from '@pageferry/core/capture';
import type { MigrateOptions } from '@pageferry/core/control';
import { BuiltinMachine, BuiltinMachineTarget } from '@pageferry/core/guest';
import { StreamDecoder } from '@pageferry/core/wire';
import { migrate, receive } from '@pageferry/workers';
import { assertThreadsGone, threads } from '../packages/core/src/testing/leftovers.ts';
import { cuttingProxy } from './lib/cutting-proxy.ts';
import { assertRamMatches, findFixture, readConnection } from './lib/fixtures.ts';
import { RecordingTarget } from './lib/play-fixture.ts';
import { RecordCounter } from './lib/record-counter.ts';

/** Compress threads between two pageferrys, and how they end badly. */

const FIXTURE = findFixture('7.2/compress');
const MIB = 2 ** 20;
const BUSY = { memoryBytes: 32 * MIB, vcpus: 2, dirtyRateBytesPerSecond: 8 * MIB };

for (const [name, options, decompressThreads] of [
  ['1 thread', { compressThreads: 1 }, 1],
  ['4 threads', { compressThreads: 4, compressLevel: 3 }, 3],
  ['2 threads that are not waited for', { compressThreads: 2, compressWaitThread: false }, 2],
  ['xbzrle for the later passes', { compressThreads: 2, xbzrle: true }, 2],
] as const) {
  test(`${name}: no write of a running guest is lost`, async () => {
    const machine = await BuiltinMachine.create(BUSY);
    const target = new BuiltinMachineTarget();
    const reception = receive('tcp:127.0.0.1:0', { compress: true, decompressThreads, guest: target });
    const records = new RecordCounter();
    await using proxy = await cuttingProxy(await reception.listening, undefined, records.push);
    machine.start();
    try {
      // At this bandwidth the guest dirties more than fits into the downtime limit: there are several passes.
      const limits = { maxBandwidthBytesPerSecond: 20 * MIB, downtimeLimitMs: 50 };
      const migration = migrate(machine, proxy.uri, { compress: true, ...limits, ...options });
      await migration.result;
      await reception.result;
      const { ram, compression } = await migration.query();
      assert.ok(ram['dirty-sync-count'] > 2, `${ram['dirty-sync-count']} syncs`);
      assert.ok(compression!.pages > 100, `${compression!.pages} pages`);
      assert.equal(compression!.pages, records.of('ram-compressed-page'));
      assert.equal(ram.normal, records.of('ram-page'));
      assert.equal(ram.duplicate, records.of('ram-zero'));
      const check = await target.machine.check();
      assert.deepEqual(check.problems, []);
      assert.ok(check.ok);
    } finally {
      await Promise.all([machine.close(), reception.result.then(() => target.machine.close())]);
    }
  });
}

test('to a file: a capture that loads', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pageferry-compress-'));
  const machine = await BuiltinMachine.create({ ...BUSY, memoryBytes: 8 * MIB });
  try {
    const path = join(folder, 'capture');
    await migrate(machine, `file:${path}`, { compress: true }).result;
    const records = new RecordCounter();
    records.push(await readFile(path));
    assert.ok(records.of('ram-compressed-page') > 100);
    const { memory } = await loadCapture(path);
    for (const [index, block] of machine.memory.blocks.entries()) {
      const bytes = Buffer.from(block.buffer, block.byteOffset, block.usedLengthBytes);
      assert.ok(bytes.equals(memory[index]!.bytes), block.idstr);
    }
  } finally {
    await machine.close();
    await rm(folder, { recursive: true });
  }
});

test('a cancelled migration: the guest runs on, and no thread is left', async () => {
  const machine = await BuiltinMachine.create(BUSY);
  machine.start();
  const before = threads();
  try {
    const reception = receive('tcp:127.0.0.1:0', { compress: true, guest: new BuiltinMachineTarget() });
    const failed = assert.rejects(reception.result, MigrationError);
    const migration = migrate(machine, await reception.listening, {
      compress: true,
      maxBandwidthBytesPerSecond: MIB,
      progressIntervalMs: 5,
    });
    for await (const { compression } of migration.progress) {
      if (compression !== undefined && compression.pages > 0) break;
    }
    migration.cancel();
    await assert.rejects(migration.result, { code: 'cancelled' });
    await failed;
    const { writes } = machine;
    while (machine.writes === writes) await new Promise((resolve) => setTimeout(resolve, 5));
    await assertThreadsGone(before, 'threads are left');
  } finally {
    await machine.close();
  }
});

/** The recorded stream of a QEMU 7.2 with one byte of the checksum of its 20th compressed page changed. */
function damagedStream(): { bytes: Uint8Array; offset: number } {
  const bytes = readConnection(FIXTURE, 0).slice();
  const decoder = new StreamDecoder();
  decoder.push(bytes);
  for (let found = 0; ; ) {
    const message = decoder.next();
    assert.ok(message !== undefined);
    if (message.type !== 'ram-compressed-page' || ++found < 20) continue;
    assert.equal(inflateSync(message.data).length, 4096);
    bytes[decoder.offset - 1]! ^= 1;
    return { bytes, offset: decoder.offset - message.data.length };
  }
}

async function receiveDamaged(options: MigrateOptions & { decompressErrorCheck?: boolean }) {
  const guest = new RecordingTarget();
  const reception = receive('tcp:127.0.0.1:0', { compress: true, guest, ...options });
  const port = Number((await reception.listening).split(':').at(-1));
  const { bytes, offset } = damagedStream();
  const socket = connectTo({ port, host: '127.0.0.1' });
  socket.on('error', () => {});
  socket.end(bytes);
  return { guest, reception, offset };
}

test('a page that cannot be inflated fails the migration, with its place', async () => {
  const { guest, reception, offset } = await receiveDamaged({});
  await assert.rejects(reception.result, { code: 'bad-compressed-data', channel: 'main', offset });
  assert.ok(guest.discarded && !guest.started);
});

test('without decompress-error-check it is what comes for it later', async () => {
  const { guest, reception } = await receiveDamaged({ decompressErrorCheck: false });
  await reception.result;
  assert.ok(guest.started);
  // The guest wrote the page afterwards, so it came again.
  for (const { idstr, bytes } of guest.blocks) assertRamMatches(FIXTURE, idstr, bytes);
});
