import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MigrationError } from '@pageferry/core';
import { type Capture, CapturedMachine, CaptureTarget, loadCapture } from '@pageferry/core/capture';
import type { MigrateOptions, Progress } from '@pageferry/core/control';
import { migrate, receive } from '@pageferry/workers';
import { Cli, runCli } from './lib/cli.ts';
import { cuttingProxy } from './lib/cutting-proxy.ts';
import { expectLiveGuest } from './lib/guest-alive.ts';
import { Qemu } from './lib/qemu.ts';
import { expectSameMemory } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';
import { RecordCounter } from './lib/record-counter.ts';
import { RevivedGuest } from './lib/revived-guest.ts';
import { TINY_ROM } from './lib/tiny-guest.ts';

/** Compress threads (capability compress, QEMU up to 9.0), in both directions with a QEMU 7.2. */

const COMPRESS = { compress: true };
/** How often the guest that pageferry sends writes all of its region. */
const PASS_INTERVAL_MS = 20;

async function runningSource(): Promise<Qemu> {
  const source = await Qemu.start({ version: '7.2' });
  await source.waitForMoreSerial(1);
  await source.setCapabilities(COMPRESS);
  return source;
}

/** A captured tiny guest, as QEMU 7.2 wrote it to a file. */
async function capturedGuest(): Promise<Capture & AsyncDisposable> {
  const source = await Qemu.start({ version: '7.2' });
  await source.waitForMoreSerial(1);
  const path = join(source.folder, 'capture');
  await source.migrate(`exec:cat > ${path}`);
  await source.waitMigration();
  const capture = await loadCapture(path);
  return Object.assign(capture, { [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() });
}

interface Sent {
  progress: Progress;
  records: RecordCounter;
}

/** Sends a guest that is being written all the time, in many passes, and checks that it lives on in the QEMU. */
async function sendBusyGuest(options: MigrateOptions, qemuCapabilities = {}): Promise<Sent> {
  await using capture = await capturedGuest();
  using guest = new RevivedGuest(capture, PASS_INTERVAL_MS);
  await using destination = await Qemu.start({ version: '7.2', incoming: 'defer' });
  await destination.setCapabilities({ ...COMPRESS, ...qemuCapabilities });
  const records = new RecordCounter();
  const target = await destination.listen('tcp:127.0.0.1:0');
  await using proxy = await cuttingProxy(target, undefined, records.push);
  // Slow, and with no downtime allowed, until it has surely iterated.
  const slow = { maxBandwidthBytesPerSecond: 4 << 20, downtimeLimitMs: 0 };
  const migration = migrate(guest, proxy.uri, {
    ...COMPRESS,
    ...slow,
    ...options,
    progressIntervalMs: 10,
  });
  for await (const { ram } of migration.progress) if (ram['dirty-sync-count'] >= 4) break;
  await migration.setParameters({ maxBandwidthBytesPerSecond: 0, downtimeLimitMs: 2000 });
  await migration.result;
  await expectLiveGuest(destination);
  const progress = await migration.query();
  assert.ok(progress.ram['dirty-sync-count'] >= 4);
  assert.equal(progress.ram.normal, records.of('ram-page'));
  assert.equal(progress.ram.duplicate, records.of('ram-zero'));
  assert.equal(progress.compression?.pages, records.of('ram-compressed-page'));
  return { progress, records };
}

describe('compress threads', { concurrency: 2 }, () => {
  for (const [threads, decompressThreads, level] of [
    [1, 1, 9],
    [8, 4, 1],
  ] as const) {
    qemuTest('7.2', `QEMU 7.2 with ${threads} threads to pageferry with ${decompressThreads}`, async () => {
      await using source = await runningSource();
      await source.setParameters({ 'compress-threads': threads, 'compress-level': level });
      const path = join(source.folder, 'capture');
      const guest = new CaptureTarget({ path, format: 'stream' });
      const reception = receive('tcp:127.0.0.1:0', { ...COMPRESS, decompressThreads, guest });
      const records = new RecordCounter();
      await using proxy = await cuttingProxy(await reception.listening, undefined, records.push);
      const info = await source.migrateIterating(proxy.uri);
      await reception.result;
      assert.ok(info.ram!['dirty-sync-count'] >= 3, 'the guest moved without iterating');
      assert.ok(records.of('ram-compressed-page') > 400, `${records.of('ram-compressed-page')} records`);
      await expectSameMemory(await loadCapture(path), source);
    });
  }

  for (const [compressThreads, compressLevel] of [
    [1, 0],
    [2, 1],
    [8, 9],
  ] as const) {
    qemuTest(
      '7.2',
      `pageferry with ${compressThreads} threads, level ${compressLevel}, to QEMU 7.2`,
      async () => {
        const { progress, records } = await sendBusyGuest({ compressThreads, compressLevel });
        assert.ok(records.of('ram-compressed-page') > 400, `${records.of('ram-compressed-page')} records`);
        const { pages, busy, compressedSize } = progress.compression!;
        assert.equal(busy, 0);
        if (compressLevel === 0) assert.equal(compressedSize, pages * (4 + 4096 + 11));
        else assert.ok(compressedSize < pages * 4096);
        // The first page of each block.
        assert.ok(records.of('ram-page') < 20, `${records.of('ram-page')} raw pages`);
      },
    );
  }

  qemuTest('7.2', 'without waiting for a thread pages go uncompressed', async () => {
    const { progress, records } = await sendBusyGuest({
      compressThreads: 1,
      compressLevel: 9,
      compressWaitThread: false,
      maxBandwidthBytesPerSecond: 16 << 20,
    });
    assert.ok(progress.compression!.busy > 0);
    assert.ok(records.of('ram-page') > 20);
    assert.ok(records.of('ram-compressed-page') > 20);
  });

  qemuTest(
    '7.2',
    'with xbzrle too, pages are compressed in the first pass and then sent as changes',
    async () => {
      const { progress, records } = await sendBusyGuest({ xbzrle: true });
      assert.ok(records.of('ram-xbzrle') > 0);
      assert.ok(progress.compression!.pages >= 380);
      // Region and firmware; not once more.
      assert.ok(progress.compression!.pages < 600, `${progress.compression!.pages} compressed pages`);
    },
  );

  qemuTest('7.2', 'a capability that is off on one side: the guest runs on', async () => {
    await using source = await runningSource();
    const reception = receive('tcp:127.0.0.1:0', {
      guest: new CaptureTarget({ path: join(source.folder, 'capture'), format: 'stream' }),
    });
    const refused = assert.rejects(reception.result, {
      code: 'unknown-flag',
      message: /capability compress is off/,
    });
    await source.setCapabilities({ 'return-path': true });
    await source.migrate(await reception.listening);
    await refused;
    await source.waitMigration('failed');
    await source.waitForMoreSerial();

    await using capture = await capturedGuest();
    using guest = new RevivedGuest(capture, PASS_INTERVAL_MS);
    await using destination = await Qemu.start({ version: '7.2', incoming: 'defer' });
    const migration = migrate(guest, await destination.listen('tcp:127.0.0.1:0'), COMPRESS);
    await assert.rejects(migration.result, MigrationError);
    await destination.waitExit();
    assert.match(destination.stderr(), /compress/);
    const counter = guest.ram.bytes[TINY_ROM.regionStart];
    await sleep(10 * PASS_INTERVAL_MS);
    assert.notEqual(guest.ram.bytes[TINY_ROM.regionStart], counter);
  });

  qemuTest(
    '7.2',
    'a stream file of compressed pages: inspect, extract, and send, compressed again',
    async (t) => {
      await using source = await runningSource();
      const file = join(source.folder, 'stream');
      await source.migrate(`exec:cat > ${file}`);
      await source.waitMigration();
      await expectSameMemory(await loadCapture(file), source);
      const inspected = await runCli('inspect', file);
      assert.equal(inspected.code, 0, inspected.stderr);
      assert.match(inspected.stdout, /[\d,]{3,} pages are compressed one by one/);
      assert.match(inspected.stdout, /"capability":"compress","state":true/);
      const raw = join(source.folder, 'ram');
      assert.equal((await runCli('extract', file, '--block', 'pc.ram', '--out', raw)).code, 0);

      // To a pageferry, and from its file to a QEMU, with flags.
      const out = join(source.folder, 'capture');
      const compress = ['--capability', 'compress'];
      const receiver = new Cli(
        ['receive', 'tcp:127.0.0.1:0', '--out', out, ...compress, '--decompress-threads', '3', '--json'],
        t,
      );
      const { address } = await receiver.event('listening');
      const sent = await runCli('send', file, String(address), ...compress, '--compress-threads', '2');
      assert.equal(sent.code, 0, sent.stderr);
      assert.equal((await receiver.finished()).code, 0);
      await expectSameMemory(await loadCapture(out), source);
      await using destination = await Qemu.start({ version: '7.2', incoming: 'defer' });
      await destination.setCapabilities(COMPRESS);
      const uri = await destination.listen('tcp:127.0.0.1:0');
      const again = await runCli(
        'send',
        out,
        uri,
        ...compress,
        '--compress-level',
        '6',
        '--compress-wait-thread',
        'off',
      );
      assert.equal(again.code, 0, again.stderr);
      await expectLiveGuest(destination);
    },
  );

  qemuTest('10.0', 'a machine type of a QEMU without it is refused by name', async () => {
    await using source = await Qemu.start({ version: '10.0', paused: true });
    const path = join(source.folder, 'capture');
    await source.migrate(`exec:cat > ${path}`);
    await source.waitMigration();
    const migration = migrate(new CapturedMachine(await loadCapture(path)), 'tcp:127.0.0.1:1', COMPRESS);
    await assert.rejects(migration.result, { code: 'bad-option', message: /pc-i440fx-10\.0.*up to 9\.0/ });
  });
});
