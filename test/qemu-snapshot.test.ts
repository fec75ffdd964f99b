import assert from 'node:assert/strict';
import { join } from 'node:path';
import { CaptureTarget, loadCapture } from '@pageferry/core/capture';
import { receive } from '@pageferry/workers';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { Qemu } from './lib/qemu.ts';
import { playGuest } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';

/** The background snapshot of a QEMU's running guest, taken in by pageferry, lives on in another QEMU. */

for (const version of QEMU_VERSIONS) {
  for (const format of ['stream', 'mapped-ram'] as const) {
    qemuTest(version, `QEMU ${version}: a background snapshot becomes a ${format} file`, async () => {
      await using source = await Qemu.start({ version });
      await source.waitForMoreSerial(1);
      const path = join(source.folder, 'snapshot');
      const reception = receive('tcp:127.0.0.1:0', { guest: new CaptureTarget({ path, format }) });
      await source.setCapabilities({ events: true, 'background-snapshot': true });
      await source.migrate(await reception.listening);
      const [info, result] = await Promise.all([source.waitMigration(), reception.result]);
      assert.equal(result.returnPath, false);
      assert.equal(result.ram.normal + result.ram.duplicate, info.ram!.normal + info.ram!.duplicate);
      const said = source.qmp.events.map(({ event, data }) => data?.status ?? event);
      assert.deepEqual(said, ['setup', 'active', 'STOP', 'RESUME', 'completed']);
      await source.waitForMoreSerial();
      await using destination = await Qemu.start({ version, incoming: 'defer' });
      await playGuest(await loadCapture(path), destination, { transport: 'tcp', returnPath: true });
    });
  }
}
