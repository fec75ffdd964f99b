import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe } from 'node:test';
import { loadCapture } from '@pageferry/core/capture';
import { expectLiveGuest } from './lib/guest-alive.ts';
import { Qemu } from './lib/qemu.ts';
import { captureGuest, expectSameMemory, playGuest } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';

const TCP = { transport: 'tcp', returnPath: true } as const;
const MAPPED_RAM = { 'mapped-ram': true };
const MULTIFD = { multifd: true };

async function runningSource(version: '7.2' | '10.0'): Promise<Qemu> {
  const source = await Qemu.start({ version });
  await source.waitForMoreSerial(1);
  return source;
}

describe('capture files and QEMU', { concurrency: 2 }, () => {
  for (const capabilities of [MAPPED_RAM, { ...MAPPED_RAM, ...MULTIFD }]) {
    const how = 'multifd' in capabilities ? 'with multifd' : 'without multifd';

    qemuTest('10.0', `a mapped-ram file of pageferry loads in QEMU 10.0 ${how}`, async () => {
      await using source = await runningSource('10.0');
      const capture = await captureGuest(source, { ...TCP, compression: 'zstd', channels: 2 }, 'mapped-ram');
      await using destination = await Qemu.start({ version: '10.0', incoming: 'defer' });
      await destination.setCapabilities({ ...capabilities, events: true });
      await destination.listen(`file:${capture.path}`);
      await destination.waitMigration();
      await expectLiveGuest(destination);
    });

    qemuTest(
      '10.0',
      `a mapped-ram file of QEMU 10.0 ${how} loads in pageferry, and lives in QEMU`,
      async () => {
        await using source = await runningSource('10.0');
        const path = join(source.folder, 'capture');
        await source.setCapabilities(capabilities);
        await source.setParameters({ 'downtime-limit': 2000 });
        await source.migrate(`file:${path}`);
        await source.waitMigration();
        const capture = await loadCapture(path);
        assert.equal(capture.format, 'mapped-ram');
        await expectSameMemory(capture, source);
        await using destination = await Qemu.start({ version: '10.0', incoming: 'defer' });
        await playGuest(capture, destination, { ...TCP, compression: 'zlib', channels: 2 });
      },
    );
  }

  qemuTest('10.0', 'a stream file of pageferry loads in QEMU 10.0 by file:', async () => {
    await using source = await runningSource('10.0');
    const capture = await captureGuest(source, TCP, 'stream');
    await using destination = await Qemu.start({ version: '10.0', incoming: `file:${capture.path}` });
    await expectLiveGuest(destination);
  });

  qemuTest('7.2', 'a stream file of pageferry loads in QEMU 7.2 by exec:', async () => {
    await using source = await runningSource('7.2');
    const capture = await captureGuest(source, TCP, 'stream');
    await using destination = await Qemu.start({ version: '7.2', incoming: `exec:cat ${capture.path}` });
    await expectLiveGuest(destination);
  });

  qemuTest('7.2', 'a stream file of QEMU 7.2 loads in pageferry, and lives in QEMU', async () => {
    await using source = await runningSource('7.2');
    const path = join(source.folder, 'capture');
    await source.setParameters({ 'downtime-limit': 2000 });
    await source.migrate(`exec:cat > ${path}`);
    await source.waitMigration();
    const capture = await loadCapture(path);
    assert.equal(capture.format, 'stream');
    await expectSameMemory(capture, source);
    await using destination = await Qemu.start({ version: '7.2', incoming: 'defer' });
    await playGuest(capture, destination, { ...TCP, compression: 'zlib', channels: 2 });
  });
});
