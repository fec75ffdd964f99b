import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { DeviceState, GuestMemory, IncomingDescription } from '../guest/contract.ts';
import type { RamBlockMemory } from '../memory/ram-block.ts';
import type { CaptureFormat } from './capture.ts';
import { inspectCapture } from './inspect.ts';
import { loadCapture } from './load.ts';
import { CapturedMachine } from './machine.ts';
import { CaptureTarget, type CaptureTargetOptions } from './target.ts';

const UUID = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const OTHER_UUID = Uint8Array.from({ length: 16 }, (_, i) => 0xf0 - i);
const NIL_UUID = new Uint8Array(16);
const FORMATS: readonly CaptureFormat[] = ['mapped-ram', 'stream'];
const DESCRIPTION: IncomingDescription = {
  configuration: { machine: 'pc-q35-9.1' },
  blocks: [
    { idstr: 'pc.ram', usedLengthBytes: 300 * 4096 },
    { idstr: '/rom@etc/table', usedLengthBytes: 4096 },
  ],
  ramSectionId: 3,
};
const STATE: DeviceState = {
  early: [
    {
      sectionId: 8,
      idstr: 'virtio-mem-device-early',
      instanceId: 0,
      versionId: 1,
      data: Uint8Array.of(1, 2),
    },
    { sectionId: 9, idstr: 'virtio-mem-device-early', instanceId: 1, versionId: 1, data: Uint8Array.of(3) },
  ],
  sections: [
    // Footer bytes of the section itself within it.
    { sectionId: 4, idstr: 'a', instanceId: 0, versionId: 2, data: Uint8Array.of(0x7e, 0, 0, 0, 4, 0) },
    { sectionId: 0, idstr: 'timer', instanceId: 1, versionId: 1, data: new Uint8Array(0) },
  ],
};

async function temporaryFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pageferry-target-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function bytesOf({ buffer, byteOffset, usedLengthBytes }: RamBlockMemory): Uint8Array {
  return new Uint8Array(buffer, byteOffset, usedLengthBytes);
}

/** Not deepEqual: its report of a difference in megabytes would take all memory. */
function assertSameBytes(found: Uint8Array, expected: Uint8Array): void {
  assert.equal(Buffer.compare(found, expected), 0, 'the bytes differ');
}

/** Pages with content here and there, in runs and alone, up to the last one. */
function fillMemory({ blocks }: GuestMemory): void {
  for (const block of blocks) {
    const bytes = bytesOf(block);
    for (let page = 0; page < bytes.length / 4096; page++) {
      if (page % 7 < 3 || page === bytes.length / 4096 - 1)
        bytes.fill(1 + (page % 255), page * 4096 + 5, page * 4096 + 9);
    }
  }
}

async function capture(options: CaptureTargetOptions, description = DESCRIPTION, state = STATE) {
  const target = new CaptureTarget(options);
  const memory = await target.prepare(description);
  fillMemory(memory);
  await target.load(state);
  return { target, memory };
}

for (const format of FORMATS) {
  test(`a guest is captured into a file of format ${format}`, async (context) => {
    const path = join(await temporaryFolder(context), 'guest');
    const progress: number[] = [];
    const onProgress = ({ doneBytes }: { doneBytes: number }) => progress.push(doneBytes);
    const { target, memory } = await capture({ path, format, onProgress });
    assert.deepEqual(memory.dirtyLog, { kind: 'none' });
    assert.deepEqual(target.result, {
      path,
      format,
      bytes: (await stat(path)).size,
      blocks: [
        { idstr: 'pc.ram', bytes: 300 * 4096 },
        { idstr: '/rom@etc/table', bytes: 4096 },
      ],
      absent: [],
      machine: 'pc-q35-9.1',
      uuid: undefined,
    });
    assert.deepEqual(progress, [300 * 4096, 301 * 4096]);
    const found = await loadCapture(path);
    assert.equal(found.format, format);
    assert.equal(found.ramSectionId, 3);
    assert.deepEqual(found.deviceState, { ...STATE, vmdesc: undefined });
    for (const [index, block] of found.memory.entries()) {
      assertSameBytes(block.bytes, bytesOf(memory.blocks[index]!));
    }
    // Before 10.0 there is no such command.
    const report = await inspectCapture(path);
    assert.deepEqual(report.commands, []);
    assert.deepEqual(
      report.devices.map((device) => [device.idstr, device.instanceId, device.bytes, device.early]),
      [
        ['virtio-mem-device-early', 0, 2, true],
        ['virtio-mem-device-early', 1, 1, true],
        ['a', 0, 6, false],
        ['timer', 1, 0, false],
      ],
    );
    const bytes = await readFile(path);
    for (const device of report.devices) assert.equal(bytes[device.offset], 0x04, device.idstr);
  });

  test(`a captured machine of format ${format} is a guest again`, async (context) => {
    const path = join(await temporaryFolder(context), 'guest');
    const { memory } = await capture({ path, format, uuid: UUID });
    const machine = new CapturedMachine(await loadCapture(path));
    assert.equal(machine.machine, 'pc-q35-9.1');
    assert.equal(machine.minimumQemuVersion, '9.1');
    assert.equal(machine.ramSectionId, 3);
    assert.deepEqual(machine.uuid, UUID);
    assert.deepEqual(machine.memory.dirtyLog, { kind: 'none' });
    assert.equal(machine.memory.runControl, undefined);
    assert.deepEqual(machine.earlySections, STATE.early);
    assert.deepEqual(await machine.saveDeviceState(), { ...STATE, vmdesc: undefined });
    for (const [index, block] of machine.memory.blocks.entries()) {
      assertSameBytes(bytesOf(block), bytesOf(memory.blocks[index]!));
    }
    await machine.inactivate();
    await machine.activate();
    const other = new CapturedMachine(await loadCapture(path), { uuid: OTHER_UUID });
    assert.deepEqual(other.uuid, OTHER_UUID);
  });

  test(`the UUID is kept in a file of format ${format}`, async (context) => {
    const path = join(await temporaryFolder(context), 'guest');
    const cases: [
      IncomingDescription['uuid'],
      IncomingDescription['uuid'],
      IncomingDescription['uuid'],
      Uint8Array | undefined,
    ][] = [
      // option, learned, in the configuration -> kept
      [undefined, undefined, undefined, undefined],
      [undefined, UUID, undefined, UUID],
      [undefined, undefined, UUID, UUID],
      [UUID, UUID, UUID, UUID],
      [UUID, undefined, undefined, UUID],
      [UUID, NIL_UUID, undefined, UUID],
      [undefined, NIL_UUID, undefined, undefined],
      [NIL_UUID, UUID, undefined, UUID],
    ];
    for (const [option, learned, configured, kept] of cases) {
      const configuration = { ...DESCRIPTION.configuration!, uuid: configured };
      const { target } = await capture(
        { path, format, uuid: option },
        { ...DESCRIPTION, configuration, uuid: learned },
      );
      assert.deepEqual(target.uuid, option === NIL_UUID ? undefined : option);
      assert.deepEqual(target.result?.uuid, kept);
      assert.deepEqual((await loadCapture(path)).configuration.uuid, kept);
    }
  });
}

test('capabilities are those of the file, not those of the stream', async (context) => {
  const path = join(await temporaryFolder(context), 'guest');
  for (const [format, expected] of [
    ['stream', undefined],
    ['mapped-ram', ['mapped-ram']],
  ] as const) {
    const configuration = { machine: 'pc-q35-9.1', capabilities: ['mapped-ram'] };
    await capture({ path, format }, { ...DESCRIPTION, configuration });
    assert.deepEqual((await loadCapture(path)).configuration.capabilities, expected);
  }
});

test('another UUID is refused before there is a file', async (context) => {
  const folder = await temporaryFolder(context);
  const target = new CaptureTarget({ path: join(folder, 'guest'), format: 'stream', uuid: UUID });
  const configuration = { machine: 'pc-q35-9.1', uuid: OTHER_UUID };
  for (const description of [
    { ...DESCRIPTION, uuid: OTHER_UUID },
    { ...DESCRIPTION, configuration, uuid: UUID },
  ]) {
    await assert.rejects(target.prepare(description), { code: 'uuid-mismatch' });
  }
  assert.deepEqual(await readdir(folder), []);
});

test('what a file cannot hold is refused before there is a file', async (context) => {
  const folder = await temporaryFolder(context);
  for (const format of FORMATS) {
    const target = new CaptureTarget({ path: join(folder, 'guest'), format, maxRamBytes: 300 * 4096 });
    const configuration = { machine: 'pc-q35-9.1', capabilities: ['x-ignore-shared'] };
    if (format === 'mapped-ram') {
      await assert.rejects(target.prepare({ ...DESCRIPTION, configuration }), { code: 'unsupported' });
    }
    await assert.rejects(target.prepare({ ...DESCRIPTION, configuration: undefined }), {
      code: 'bad-configuration',
    });
    await assert.rejects(target.prepare(DESCRIPTION), { code: 'limit-exceeded' });
    const blocks = [{ idstr: 'pc.ram', usedLengthBytes: 2 ** 46 }];
    const large = new CaptureTarget({ path: join(folder, 'guest'), format, maxRamBytes: 2 ** 50 });
    await assert.rejects(large.prepare({ ...DESCRIPTION, blocks }), {
      code: 'limit-exceeded',
      message: /pc\.ram/,
    });
  }
  assert.deepEqual(await readdir(folder), []);
});

test('a path that cannot be written fails before the guest is moved', async (context) => {
  const folder = await temporaryFolder(context);
  for (const path of [join(folder, 'missing', 'guest'), folder]) {
    const target = new CaptureTarget({ path, format: 'stream' });
    await assert.rejects(target.checkPath(), { code: 'file-failed', channel: path });
    await assert.rejects(target.prepare(DESCRIPTION), { code: 'file-failed', channel: path });
  }
  await new CaptureTarget({ path: join(folder, 'guest'), format: 'stream' }).checkPath();
  assert.deepEqual(await readdir(folder), []);
});

test('a discarded capture leaves nothing, at whatever time', async (context) => {
  const folder = await temporaryFolder(context);
  const path = join(folder, 'guest');
  for (const format of FORMATS) {
    const never = new CaptureTarget({ path, format });
    await never.discard();
    await never.discard();

    const preparing = new CaptureTarget({ path, format });
    const prepared = assert.rejects(preparing.prepare(DESCRIPTION), { code: 'cancelled' });
    await preparing.discard();
    await prepared;
    assert.deepEqual(await readdir(folder), []);

    const waiting = new CaptureTarget({ path, format });
    await waiting.prepare(DESCRIPTION);
    assert.equal((await readdir(folder)).length, 1);
    await waiting.discard();
    assert.deepEqual(await readdir(folder), []);
    await assert.rejects(waiting.load(STATE), { code: 'internal' });

    let discarded: Promise<void> | undefined;
    const loading: CaptureTarget = new CaptureTarget({
      path,
      format,
      onProgress: () => {
        discarded ??= loading.discard();
      },
    });
    fillMemory(await loading.prepare(DESCRIPTION));
    await assert.rejects(loading.load(STATE), { code: 'cancelled' });
    await discarded;
    assert.equal(loading.result, undefined);
    assert.deepEqual(await readdir(folder), []);
  }
});

test('a capture that is whole stays when it is discarded', async (context) => {
  const path = join(await temporaryFolder(context), 'guest');
  const { target } = await capture({ path, format: 'mapped-ram' });
  await target.start();
  await target.discard();
  assert.equal((await loadCapture(path)).memory.length, 2);
});

test('a target can be prepared again after a failure', async (context) => {
  const folder = await temporaryFolder(context);
  const target = new CaptureTarget({ path: join(folder, 'guest'), format: 'stream' });
  await target.prepare(DESCRIPTION);
  await target.prepare(DESCRIPTION);
  assert.equal((await readdir(folder)).length, 1);
  await target.load(STATE);
  assert.deepEqual(await readdir(folder), ['guest']);
});

test('a block of more than 4 GiB keeps its pages', async (context) => {
  const path = join(await temporaryFolder(context), 'guest');
  const usedLengthBytes = 2 ** 32 + 2 ** 20;
  const description = { ...DESCRIPTION, blocks: [{ idstr: 'pc.ram', usedLengthBytes }] };
  const marks = [0, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 5 * 4096 + 1, usedLengthBytes - 1];
  for (const format of FORMATS) {
    const target = new CaptureTarget({ path, format });
    const bytes = bytesOf((await target.prepare(description)).blocks[0]!);
    for (const [index, at] of marks.entries()) bytes[at] = index + 1;
    await target.load(STATE);
    const { memory, stats } = await loadCapture(path);
    assert.deepEqual(
      marks.map((at) => memory[0]!.bytes[at]),
      [1, 2, 3, 4, 5, 6],
    );
    assert.equal(stats.pageRecords, 6);
    const report = await inspectCapture(path);
    assert.equal(report.ram?.pages.uniquePages, 6);
  }
});
