import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { describe } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { inspectCapture, writeCapture } from '@pageferry/core/capture';
import { QmpClient } from '@pageferry/core/qmp';
import { loadFixture, TemporaryFolder } from './lib/capture-files.ts';
import { findQemu } from './lib/find-qemus.ts';
import { expectLiveGuest } from './lib/guest-alive.ts';
import { Qemu } from './lib/qemu.ts';
import { qemuTest } from './lib/qemu-test.ts';

/** Recorded guests, written to files by pageferry, go on running in a QEMU. */
describe('files written by pageferry, loaded by QEMU', { concurrency: 2 }, () => {
  for (const multifd of [false, true]) {
    for (const fixture of ['10.0/mapped-ram', '10.0/precopy-iterations']) {
      const how = multifd ? 'with multifd' : 'without multifd';
      qemuTest('10.0', `mapped-ram, from ${fixture}, ${how}`, async () => {
        await using folder = await TemporaryFolder.create();
        const path = folder.file('capture');
        const capture = await loadFixture(folder, fixture);
        // A UUID that was learned on the way is no obstacle where nobody asks for it.
        const configuration = {
          ...capture.configuration,
          uuid: Uint8Array.from({ length: 16 }, (_, i) => i + 1),
        };
        await writeCapture(path, 'mapped-ram', { ...capture, configuration });
        await using qemu = await Qemu.start({ version: '10.0', incoming: 'defer' });
        await qemu.setCapabilities({ 'mapped-ram': true, multifd });
        await qemu.listen(`file:${path}`);
        await qemu.waitMigration();
        await expectLiveGuest(qemu);
      });
    }
  }

  for (const [version, fixture, machine, scheme] of [
    ['7.2', '7.2/precopy', 'pc-i440fx-7.2', 'exec:cat '],
    ['10.0', '10.0/mapped-ram', 'pc-i440fx-10.0', 'exec:cat '],
    ['10.0', '10.0/precopy', 'pc-i440fx-10.0', 'file:'],
    ['10.0', '10.0/precopy-machine72', 'pc-i440fx-7.2', 'exec:cat '],
  ] as const) {
    qemuTest(version, `plain stream, from ${fixture}, ${scheme.trim()} in QEMU ${version}`, async () => {
      await using folder = await TemporaryFolder.create();
      const path = folder.file('capture');
      await writeCapture(path, 'stream', await loadFixture(folder, fixture));
      await using qemu = await Qemu.start({ version, machine, incoming: `${scheme}${path}` });
      await expectLiveGuest(qemu);
    });
  }

  for (const format of ['mapped-ram', 'stream'] as const) {
    qemuTest('10.0', `${format}, started as inspect advises`, async () => {
      await using folder = await TemporaryFolder.create();
      const path = folder.file('capture');
      await writeCapture(path, format, await loadFixture(folder, '10.0/precopy'));
      const { loads } = await inspectCapture(path);
      const bios = fileURLToPath(new URL('fixtures/guest/tiny-rom.bin', import.meta.url));
      // What the notes say that the file cannot know, and a serial port that can be read.
      const commandLine = loads!.commandLine
        .replace('qemu-system-x86_64', `exec ${findQemu('10.0').binary}`)
        .replace('FIRMWARE', bios)
        .replace('-serial null', '-serial file:serial')
        .concat(' -accel tcg -cpu qemu64 -display none -monitor none');
      const child = spawn('sh', ['-c', commandLine], {
        cwd: folder.path,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      const exited = once(child, 'exit');
      try {
        if (loads!.qmp.length > 0) await giveCommands(folder.file('qmp.sock'), loads!.qmp);
        const serial = folder.file('serial');
        const passes = async () =>
          existsSync(serial) ? (await readFile(serial, 'latin1')).split('B').length : 0;
        const deadline = performance.now() + 20_000;
        while ((await passes()) < 5) {
          assert.ok(performance.now() < deadline, 'the guest prints nothing');
          assert.equal(child.exitCode, null, `QEMU ended: ${child.stderr.read()}`);
          await sleep(20);
        }
      } finally {
        child.kill('SIGKILL');
        await exited;
      }
    });
  }
});

/** Gives the advised commands, `qmp_capabilities` first: the harness gives that one itself. */
async function giveCommands(path: string, commands: readonly string[]): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!existsSync(path) && performance.now() < deadline) await sleep(10);
  const [first, ...rest] = commands.map((command) => JSON.parse(command));
  assert.equal(first.execute, 'qmp_capabilities');
  const socket = createConnection(path);
  await once(socket, 'connect');
  const qmp = await QmpClient.open(socket);
  try {
    for (const { execute, arguments: parameters } of rest) await qmp.execute(execute, parameters);
  } finally {
    qmp.close();
  }
}
