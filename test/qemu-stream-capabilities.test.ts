import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '@pageferry/core';
import {
  type Capture,
  CapturedMachine,
  CaptureTarget,
  type CaptureTargetOptions,
  inspectCapture,
  loadCapture,
  shareBlocks,
} from '@pageferry/core/capture';
import type { MigrateOptions, ReceiveOptions } from '@pageferry/core/control';
import { migrate, receive } from '@pageferry/workers';
import { QEMU_VERSIONS, type QemuVersion } from './lib/find-qemus.ts';
import { expectLiveGuest } from './lib/guest-alive.ts';
import { Qemu, type QemuOptions } from './lib/qemu.ts';
import { expectSameMemory } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';

/*
 * Capabilities and machine properties that decide about the stream as a whole, with real QEMUs at both ends: a running
 * guest is captured out of one, and played into another, where it lives on.
 */

type Settings = Record<string, boolean>;

/** Captures the running guest of `source` into a plain stream. */
async function captured(
  source: Qemu,
  capabilities: Settings,
  options: ReceiveOptions = {},
  uuid?: Uint8Array,
  target: Partial<CaptureTargetOptions> = {},
): Promise<Capture> {
  await source.waitForMoreSerial(1);
  const path = join(source.folder, 'capture');
  const guest = new CaptureTarget({ path, format: 'stream', uuid, ...target });
  const reception = receive('tcp:127.0.0.1:0', { ...options, guest });
  reception.result.catch(() => {});
  await source.setCapabilities({ 'return-path': true, ...capabilities });
  await source.migrate(await reception.listening);
  await reception.result;
  await source.waitMigration();
  return loadCapture(path);
}

/** Plays a captured guest into a QEMU that was started with `incoming: 'defer'`. */
async function played(
  capture: Capture,
  destination: Qemu,
  capabilities: Settings,
  options: MigrateOptions & { uuid?: Uint8Array } = {},
) {
  const { uuid, ...rest } = options;
  if (Object.keys(capabilities).length > 0) await destination.setCapabilities(capabilities);
  const address = await destination.listen('tcp:127.0.0.1:0');
  const result = await migrate(new CapturedMachine(capture, { uuid }), address, rest).result;
  await expectLiveGuest(destination);
  return result;
}

async function fails(result: Promise<unknown>): Promise<MigrationError> {
  const error = await result.then(
    () => assert.fail('it did not fail'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof MigrationError, String(error));
  return error;
}

const versions: readonly QemuVersion[] = QEMU_VERSIONS;
const UUID = '6f1ed002-ab60-4a2c-8a3f-0123456789ab';
const uuidBytes = Uint8Array.from(Buffer.from(UUID.replaceAll('-', ''), 'hex'));
const otherUuid = new Uint8Array(16).fill(0xab);

describe('stream capabilities with QEMU', { concurrency: 2 }, () => {
  for (const version of versions) {
    /** A machine whose RAM is in a file that others can map as well. */
    const sharing = (path: string): QemuOptions => ({
      version,
      machine: `pc-i440fx-${version},memory-backend=pc.ram`,
      extraArgs: [
        '-object',
        `memory-backend-file,id=pc.ram,size=16M,mem-path=${path},share=on,x-use-canonical-path-for-ramblock-id=off`,
      ],
    });

    qemuTest(version, `QEMU ${version}: x-ignore-shared, RAM stays in its file`, async () => {
      await using folder = await Qemu.start({ version, paused: true });
      const ram = join(folder.folder, 'ram');
      await using source = await Qemu.start(sharing(ram));
      const on = { 'x-ignore-shared': true };
      const capture = await captured(source, on, { ignoreShared: true });
      const absent = capture.memory.filter((block) => block.elsewhere).map(({ idstr }) => idstr);
      assert.deepEqual(absent, ['pc.ram']);
      assert.ok((await stat(capture.path)).size < 1 << 20, 'everything but RAM');
      assert.equal(capture.stats.missingPages, 0);

      const whole = await fails(migrate(new CapturedMachine(capture), 'tcp:127.0.0.1:1').result);
      assert.equal(whole.code, 'bad-option');
      assert.match(whole.message, /x-ignore-shared.*pc\.ram/);

      await using destination = await Qemu.start({ ...sharing(ram), incoming: 'defer' });
      const result = await played(capture, destination, on, { ignoreShared: true });
      assert.ok(result.ram.total < 1 << 20);

      // The file itself is a stream that QEMU loads: the guest goes on where the one before it stopped.
      await using again = await Qemu.start({ ...sharing(ram), incoming: 'defer', paused: true });
      await again.setCapabilities(on);
      await again.listen(`exec:cat ${capture.path}`);
      await again.waitMigration();
    });

    qemuTest(
      version,
      `QEMU ${version}: x-ignore-shared that differs fails, and the guest runs on`,
      async () => {
        await using source = await Qemu.start({ version });
        const error = await fails(captured(source, { 'x-ignore-shared': true }));
        assert.equal(error.code, 'bad-configuration');
        await source.waitRunning();
        await expectLiveGuest(source);
      },
    );

    qemuTest(version, `QEMU ${version}: x-ignore-shared, RAM by way of files`, async () => {
      await using folder = await Qemu.start({ version, paused: true });
      const [theirs, ours] = [join(folder.folder, 'theirs'), join(folder.folder, 'ours')];
      await using source = await Qemu.start(sharing(theirs));
      const on = { 'x-ignore-shared': true };
      const file = { sharedFiles: { 'pc.ram': theirs }, format: 'mapped-ram' } as const;
      const capture = await captured(source, on, { ignoreShared: true }, undefined, file);
      await expectSameMemory(capture, source);
      // It is whole, and goes to a QEMU that shares nothing.
      await using plain = await Qemu.start({ version, incoming: 'defer' });
      await played(capture, plain, {});
      const memory = await shareBlocks(capture.memory, { 'pc.ram': ours });
      await using destination = await Qemu.start({ ...sharing(ours), incoming: 'defer' });
      const result = await played({ ...capture, memory }, destination, on, { ignoreShared: true });
      assert.ok(result.ram.total < 1 << 20);
    });

    qemuTest(version, `QEMU ${version}: validate-uuid, the right one and a wrong one`, async () => {
      const identity = { version, extraArgs: ['-uuid', UUID] };
      const on = { 'validate-uuid': true };
      await using source = await Qemu.start(identity);
      const wrong = await fails(captured(source, on, {}, otherUuid));
      assert.equal(wrong.code, 'uuid-mismatch');
      assert.equal(wrong.found, UUID);
      await source.waitRunning();
      await source.waitForMoreSerial();
      const capture = await captured(source, on, {}, uuidBytes);
      assert.deepEqual(capture.configuration.uuid, uuidBytes);

      await using stranger = await Qemu.start({ ...identity, incoming: 'defer' });
      const address = await stranger.listen('tcp:127.0.0.1:0');
      const refused = await fails(
        migrate(new CapturedMachine(capture, { uuid: otherUuid }), address, { validateUuid: true }).result,
      );
      assert.ok(['destination-failed', 'connection-lost'].includes(refused.code), refused.message);

      await using destination = await Qemu.start({ ...identity, incoming: 'defer' });
      await played(capture, destination, {}, { validateUuid: true });
      // What is not sent is not compared.
      await using unasked = await Qemu.start({ ...identity, incoming: 'defer' });
      await played(capture, unasked, {}, { uuid: otherUuid });
    });
  }

  qemuTest('10.0', 'QEMU 10.0: switchover-ack, in both directions', async () => {
    const on = { 'return-path': true, 'switchover-ack': true };
    await using source = await Qemu.start({ version: '10.0' });
    const capture = await captured(source, on, { switchoverAck: true });
    await expectSameMemory(capture, source);
    await using destination = await Qemu.start({ version: '10.0', incoming: 'defer' });
    await played(capture, destination, on, { switchoverAck: true });
  });

  qemuTest('10.0', 'QEMU 10.0: without the acknowledgement it does not switch over', async () => {
    await using source = await Qemu.start({ version: '10.0' });
    const path = join(source.folder, 'capture');
    const ready = Promise.withResolvers<void>();
    const guest = Object.assign(new CaptureTarget({ path, format: 'stream' }), {
      readyForSwitchover: () => ready.promise,
    });
    const reception = receive('tcp:127.0.0.1:0', { guest, switchoverAck: true });
    await source.setCapabilities({ 'return-path': true, 'switchover-ack': true });
    await source.setParameters({ 'max-bandwidth': 2 ** 33, 'downtime-limit': 2000 });
    await source.migrate(await reception.listening);
    await delay(1500);
    assert.equal((await source.qmp.execute('query-migrate')).status, 'active');
    ready.resolve();
    await reception.result;
    await source.waitMigration();
    await expectSameMemory(await loadCapture(path), source);
  });

  const off = (...names: string[]) => names.flatMap((name) => ['-global', `migration.${name}=off`]);
  const bare: QemuOptions = { version: '7.2', machine: 'pc-i440fx-2.2,suppress-vmdesc=off' };
  const footless: QemuOptions = {
    version: '10.0',
    extraArgs: off('send-section-footer', 'store-global-state'),
  };
  interface OldWay {
    source: QemuOptions;
    /** As the source if absent. */
    destination?: QemuOptions;
    receiveAs?: ReceiveOptions;
    sendAs?: MigrateOptions;
  }
  const OLD_WAYS: Record<string, OldWay> = {
    'QEMU 7.2, pc-i440fx-2.3': {
      source: { version: '7.2', machine: 'pc-i440fx-2.3' },
      receiveAs: { machine: 'pc-i440fx-2.3' },
    },
    'QEMU 7.2, pc-i440fx-2.2 with a vmdescription': {
      source: bare,
      receiveAs: { machine: 'pc-i440fx-2.2' },
      sendAs: { suppressVmdesc: false },
    },
    'QEMU 7.2, pc-i440fx-2.2, which wants no vmdescription': {
      source: bare,
      destination: { version: '7.2', machine: 'pc-i440fx-2.2' },
      receiveAs: { machine: 'pc-i440fx-2.2' },
    },
    'QEMU 7.2, neither configuration nor footers': {
      source: { version: '7.2', extraArgs: off('send-configuration', 'send-section-footer') },
      receiveAs: { machine: 'pc-i440fx-7.2', sendConfiguration: false, sendSectionFooter: false },
      sendAs: { sendConfiguration: false, sendSectionFooter: false, storeGlobalState: false },
    },
    // A QEMU 10.0 that sends no configuration fails an assertion of its own; it takes a stream without.
    'QEMU 10.0, no configuration': {
      source: { version: '10.0' },
      destination: { version: '10.0', extraArgs: off('send-configuration') },
      sendAs: { sendConfiguration: false },
    },
    'QEMU 10.0, neither footers nor run state': { source: footless, sendAs: { sendSectionFooter: false } },
  };
  for (const [name, { source: from, destination: to = from, receiveAs, sendAs }] of Object.entries(
    OLD_WAYS,
  )) {
    for (const multifd of [false, true]) {
      qemuTest(from.version, `${name}${multifd ? ', multifd' : ''}: captured, sent, alive`, async () => {
        const on: Settings = multifd ? { multifd } : {};
        await using source = await Qemu.start(from);
        const capture = await captured(source, on, { ...receiveAs, ...on });
        await expectSameMemory(capture, source);
        assert.ok(capture.proven);
        await using destination = await Qemu.start({ ...to, incoming: 'defer' });
        await played(capture, destination, on, { ...sendAs, ...on });
      });
    }
  }

  qemuTest('7.2', 'QEMU 7.2: a capture of pc-i440fx-2.3 is loaded as inspect says', async () => {
    const machine = 'pc-i440fx-2.3';
    await using source = await Qemu.start({ version: '7.2', machine });
    const capture = await captured(source, {}, { machine });
    const advice = (await inspectCapture(capture.path)).loads!.commandLine;
    const globals = Array.from(advice.matchAll(/-global (\S+)/g), ([, value]) => ['-global', value!]).flat();
    assert.equal(globals.length, 4);
    await using destination = await Qemu.start({
      ...{ version: '7.2', machine, extraArgs: globals },
      incoming: `exec:cat ${capture.path}`,
    });
    await expectLiveGuest(destination);
  });

  qemuTest('7.2', 'QEMU 7.2: pc-i440fx-2.2 sends nothing that tells its devices apart', async () => {
    await using source = await Qemu.start({ version: '7.2', machine: 'pc-i440fx-2.2' });
    const options = { machine: 'pc-i440fx-2.2' };
    const error = await fails(captured(source, { 'return-path': false }, options));
    assert.equal(error.code, 'bad-device-state');
    assert.match(error.message, /suppress-vmdesc=off/);
  });

  for (const zeroPageDetection of ['none', 'legacy', 'multifd'] as const) {
    for (const machine of ['pc-i440fx-8.1', 'pc-i440fx-10.0']) {
      const multifd = machine === 'pc-i440fx-8.1';
      const how = `${machine}${multifd ? ', multifd' : ''}, zero-page-detection ${zeroPageDetection}`;
      qemuTest('10.0', `QEMU 10.0: ${how}`, async () => {
        const on: Settings = multifd ? { multifd } : {};
        await using source = await Qemu.start({ version: '10.0', machine });
        await source.setParameters({ 'zero-page-detection': zeroPageDetection });
        const capture = await captured(source, on, on);
        await expectSameMemory(capture, source);
        await using destination = await Qemu.start({ version: '10.0', machine, incoming: 'defer' });
        const { ram } = await played(capture, destination, on, { ...on, zeroPageDetection });
        assert.equal(ram.duplicate > 0, zeroPageDetection !== 'none');
      });
    }
  }
});
