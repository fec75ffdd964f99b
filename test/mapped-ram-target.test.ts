import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import test from 'node:test';
import { type ErrorCode, MigrationError } from '@pageferry/core';
import { type Capture, CapturedMachine, loadCapture } from '@pageferry/core/capture';
import type { MigrateOptions } from '@pageferry/core/control';
import { BuiltinMachine, BuiltinMachineTarget } from '@pageferry/core/guest';
import { migrate, prepareEngine } from '@pageferry/workers';
import { TestGuest } from '../packages/core/src/testing/test-guests.ts';
import { assertSameMachine, placeFixture, TemporaryFolder } from './lib/capture-files.ts';
import { mountTiny, unmountTiny } from './lib/tiny-disk.ts';

/** A mapped-ram file as the target of a live migration: `migrate(guest, 'file:PATH', { mappedRam: true })`. */

const ONE_THREAD: MigrateOptions = { mappedRam: true };
const THREE_THREADS: MigrateOptions = { mappedRam: true, multifd: true, multifdChannels: 3 };
const WAYS = [
  ['one thread', ONE_THREAD],
  ['multifd', THREE_THREADS],
] as const;

/** In the recorded files the last block is pc.bios, 64 KiB at 19 MiB. */
const PAGES_END = 19 * 2 ** 20 + 64 * 1024;

async function fails(result: Promise<unknown>, code: ErrorCode): Promise<MigrationError> {
  const error = await result.then(
    () => assert.fail('it did not fail'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof MigrationError, String(error));
  assert.equal(error.code, code, error.message);
  return error;
}

function assertRam(guest: TestGuest, capture: Capture): void {
  for (const [index, block] of guest.blocks.entries()) {
    assert.ok(Buffer.from(block.bytes).equals(Buffer.from(capture.memory[index]!.bytes)), block.idstr);
  }
}

/** Pages of the first block get content, other content, or none, as long as the guest runs. */
function keepWriting(guest: TestGuest, everyMs: number): Disposable {
  const [ram] = guest.blocks;
  let step = 0;
  const timer = setInterval(() => {
    if (!guest.control.running) return;
    const page = (step * 37) % ram!.pageCount;
    if (step % 3 === 0) ram!.bytes.fill(0, page * 4096, (page + 1) * 4096);
    guest.write(page, step % 3 === 0 ? 0 : step & 0xff);
    step++;
  }, everyMs);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

for (const [way, options] of WAYS) {
  for (const path of ['10.0/mapped-ram', '10.0/mapped-ram-multifd', '10.0/mapped-ram-paused']) {
    test(`${way}: the guest of ${path} in a file gives QEMU's bytes`, async () => {
      await using folder = await TemporaryFolder.create();
      const theirs = await placeFixture(folder, path);
      const capture = await loadCapture(theirs);
      const ours = folder.file('ours');
      const result = await migrate(new CapturedMachine(capture), `file:${ours}`, options).result;
      assert.equal(result.status, 'completed');
      assert.equal(result.returnPath, false);
      assertSameMachine(await loadCapture(ours), capture);
      // Up to the end of the pages; how many PART sections follow is a matter of time.
      const [theirBytes, ourBytes] = await Promise.all([readFile(theirs), readFile(ours)]);
      assert.ok(ourBytes.subarray(0, PAGES_END).equals(theirBytes.subarray(0, PAGES_END)));
    });
  }

  test(`${way}: pages that change and turn to zero meanwhile are in the file as they were last`, async () => {
    await using folder = await TemporaryFolder.create();
    const guest = new TestGuest();
    const path = folder.file('capture');
    using _ = keepWriting(guest, 2);
    const slow = { maxBandwidthBytesPerSecond: 3_000_000, downtimeLimitMs: 20 };
    const result = await migrate(guest, `file:${path}`, { ...options, ...slow }).result;
    assert.ok(result.ram['dirty-sync-count'] > 3, `${result.ram['dirty-sync-count']} syncs`);
    assert.ok(result.ram.normal + result.ram.duplicate > 308, 'no page was written twice');
    assert.equal(result.channels.length, options.multifdChannels ?? 1);
    assert.ok(!guest.control.running);
    assert.deepEqual(guest.calls, ['inactivate', 'save']);
    const capture = await loadCapture(path);
    assert.equal(capture.format, 'mapped-ram');
    assertRam(guest, capture);
    // Pages that are zero are not in the file, though some of them were.
    const zero = guest.blocks.flatMap((block) =>
      Array.from({ length: block.pageCount }, (_, page) =>
        block.bytes.subarray(page * 4096, (page + 1) * 4096),
      ),
    );
    const present = zero.filter((page) => page.some((byte) => byte !== 0)).length;
    assert.equal(capture.stats.pageRecords, present);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
  });

  test(`${way}: a built-in machine that never stands still, with hashes of all its RAM`, async () => {
    await using folder = await TemporaryFolder.create();
    const machine = await BuiltinMachine.create({
      memoryBytes: 64 * 2 ** 20,
      vcpus: 2,
      dirtyRateBytesPerSecond: 40 * 2 ** 20,
      verify: true,
    });
    machine.start();
    const path = folder.file('capture');
    const slow = { maxBandwidthBytesPerSecond: 120 * 2 ** 20, downtimeLimitMs: 50 };
    const result = await migrate(machine, `file:${path}`, { ...options, ...slow }).result;
    assert.ok(result.ram['dirty-sync-count'] >= 3);
    await machine.close();
    const capture = await loadCapture(path);
    const target = new BuiltinMachineTarget();
    const { configuration, ramSectionId } = capture;
    const { blocks } = await target.prepare({ configuration, blocks: capture.memory, ramSectionId });
    for (const [index, { buffer, byteOffset }] of blocks.entries()) {
      new Uint8Array(buffer, byteOffset).set(capture.memory[index]!.bytes);
    }
    // Compares the hashes that were taken when the guest had stopped.
    await target.load(capture.deviceState);
    assert.ok(target.verifyMs > 0);
    const report = await target.machine.check();
    assert.deepEqual(report.problems, []);
    await target.machine.close();
  });

  test(`${way}: cancelled in the middle, the guest runs on and nothing is left`, async () => {
    await using folder = await TemporaryFolder.create();
    const guest = new TestGuest();
    const path = folder.file('capture');
    await writeFile(path, 'older');
    const slow = { maxBandwidthBytesPerSecond: 100_000, progressIntervalMs: 5 };
    const migration = migrate(guest, `file:${path}`, { ...options, ...slow });
    for await (const { ram } of migration.progress) {
      if (ram.transferred > 10_000) break;
    }
    assert.equal((await readdir(folder.path)).length, 2, 'the older file and the new one');
    const startMs = performance.now();
    migration.cancel();
    await fails(migration.result, 'cancelled');
    assert.ok(performance.now() - startMs < 600, `${performance.now() - startMs} ms`);
    assert.deepEqual(await readdir(folder.path), ['capture']);
    assert.equal(await readFile(path, 'utf8'), 'older');
    assert.ok(guest.control.running);
  });

  test(`${way}: a guest that cannot save its devices runs on, and nothing is left`, async () => {
    await using folder = await TemporaryFolder.create();
    const guest = new TestGuest();
    guest.saveDeviceState = async () => {
      throw new Error('no power');
    };
    await fails(migrate(guest, `file:${folder.file('capture')}`, options).result, 'guest-failed');
    assert.deepEqual(await readdir(folder.path), []);
    assert.deepEqual(guest.calls, ['inactivate', 'activate']);
    assert.ok(guest.control.running);
  });

  test(`${way}: a disk that gets full`, async (context) => {
    await using folder = await TemporaryFolder.create();
    const disk = folder.file('disk');
    await mkdir(disk);
    const missing = mountTiny(disk, 256 * 1024);
    if (missing !== undefined) return context.skip(missing);
    try {
      const guest = new TestGuest();
      const error = await fails(migrate(guest, `file:${disk}/capture`, options).result, 'file-failed');
      assert.match(error.message, /cannot write .*capture: ENOSPC/);
      assert.equal(error.channel, `${disk}/capture`);
      assert.deepEqual(await readdir(disk), []);
      assert.ok(guest.control.running);
    } finally {
      unmountTiny(disk);
    }
  });

  test(`${way}: an engine that was prepared for it`, async () => {
    await using folder = await TemporaryFolder.create();
    const engine = prepareEngine({ direction: 'outgoing', ...options });
    await engine.ready;
    const guest = new TestGuest();
    const path = folder.file('capture');
    await migrate(guest, `file:${path}`, { ...options, engine }).result;
    assertRam(guest, await loadCapture(path));
    const other = prepareEngine({ direction: 'outgoing', multifd: true });
    await other.ready;
    assert.throws(() => migrate(guest, `file:${path}`, { ...options, engine: other }), {
      code: 'bad-option',
    });
    await other.close();
  });
}

test('zero pages are pages when nobody is to look for them', async () => {
  await using folder = await TemporaryFolder.create();
  const guest = new TestGuest();
  const path = folder.file('capture');
  await migrate(guest, `file:${path}`, { ...ONE_THREAD, zeroPageDetection: 'none' }).result;
  const capture = await loadCapture(path);
  assertRam(guest, capture);
  assert.equal(capture.stats.pageRecords, 308);
});

test('paths that cannot be written', async () => {
  await using folder = await TemporaryFolder.create();
  const guest = new TestGuest();
  for (const [path, reason] of [
    [folder.file('nowhere/capture'), /cannot create .*nowhere\/capture: ENOENT/],
    [folder.path, /not a regular file/],
    ['/dev/full', /not a regular file/],
  ] as const) {
    const error = await fails(migrate(guest, `file:${path}`, THREE_THREADS).result, 'file-failed');
    assert.match(error.message, reason);
    assert.equal(error.channel, path);
  }
  assert.ok(guest.control.running);
  assert.deepEqual(await readdir(folder.path), []);
});

test('what mapped-ram does not go with', async () => {
  const guest = new TestGuest();
  for (const wrong of [
    { multifd: true, multifdCompression: 'zstd' },
    { multifd: true, multifdBackend: 'pako' },
    { multifd: true, multifdFlushAfterEachSection: true },
  ] as const) {
    assert.throws(() => migrate(guest, 'file:/nowhere', { ...wrong, mappedRam: true }), {
      code: 'bad-option',
      message: /^mapped-ram does not go with/,
    });
  }
  await fails(migrate(guest, 'tcp:127.0.0.1:1', ONE_THREAD).result, 'bad-option');
  await fails(migrate(guest, 'file:/nowhere,offset=4096', ONE_THREAD).result, 'unsupported');
  assert.ok(guest.control.running);
});
