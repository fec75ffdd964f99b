import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '@pageferry/core';
import { CapturedMachine, CaptureTarget, loadCapture } from '@pageferry/core/capture';
import type { Progress } from '@pageferry/core/control';
import { migrate, receive } from '@pageferry/workers';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { expectLiveGuest } from './lib/guest-alive.ts';
import { Qemu } from './lib/qemu.ts';
import { captureGuest, expectSameMemory } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';

/** Pause before the switch-over, and cancel and retry, with a real QEMU at the other end. */

async function until(migration: { query(): Promise<Progress> }, status: string): Promise<void> {
  while ((await migration.query()).status !== status) await delay(5);
}

async function codeOf(result: Promise<unknown>): Promise<string> {
  return result.then(
    () => 'completed',
    (error: unknown) => (error instanceof MigrationError ? error.code : String(error)),
  );
}

const MULTIFD = { multifd: true, multifdChannels: 2 } as const;

for (const version of QEMU_VERSIONS) {
  describe(`states, with QEMU ${version}`, { concurrency: 2 }, () => {
    qemuTest(
      version,
      `QEMU ${version} takes a guest whose source pauses, is cancelled and tries again`,
      async () => {
        await using source = await Qemu.start({ version });
        await source.waitForMoreSerial(1);
        const machine = new CapturedMachine(
          await captureGuest(source, { transport: 'tcp', returnPath: true }, 'stream'),
        );
        for (const options of [{}, MULTIFD]) {
          await using refused = await Qemu.start({ version, incoming: 'defer' });
          if ('multifd' in options) await refused.setCapabilities({ multifd: true });
          const first = migrate(machine, await refused.listen('tcp:127.0.0.1:0'), {
            ...options,
            pauseBeforeSwitchover: true,
          });
          await until(first, 'pre-switchover');
          first.cancel();
          assert.equal(await codeOf(first.result), 'cancelled');
          // A destination whose source goes away ends.
          await refused.waitExit();

          await using destination = await Qemu.start({ version, incoming: 'defer' });
          if ('multifd' in options) await destination.setCapabilities({ multifd: true });
          const second = migrate(machine, await destination.listen('tcp:127.0.0.1:0'), {
            ...options,
            pauseBeforeSwitchover: true,
          });
          await until(second, 'pre-switchover');
          // Longer than the interval of the PINGs that keep a destination patient.
          await delay(5500);
          assert.equal(second.status, 'pre-switchover');
          await second.continue();
          assert.equal(await codeOf(second.result), 'completed');
          await expectLiveGuest(destination);
        }
      },
    );

    qemuTest(version, `a QEMU ${version} that pauses, is cancelled and tries again is captured`, async () => {
      await using source = await Qemu.start({ version });
      await source.waitForMoreSerial(1);
      await source.setCapabilities({ 'pause-before-switchover': true, 'return-path': true });
      const guest = () => new CaptureTarget({ path: join(source.folder, 'capture'), format: 'stream' });

      const cut = receive('tcp:127.0.0.1:0', { guest: guest() });
      await source.migrate(await cut.listening);
      await source.waitMigration('pre-switchover');
      await until(cut, 'active');
      await source.qmp.execute('migrate_cancel');
      await source.waitMigration('cancelled');
      assert.match(await codeOf(cut.result), /^(truncated|connection-lost)$/);
      assert.equal((await cut.query()).status, 'failed');
      await source.waitForMoreSerial(1);

      const reception = receive('tcp:127.0.0.1:0', { guest: guest() });
      await source.migrate(await reception.listening);
      await source.waitMigration('pre-switchover');
      await delay(300);
      await source.qmp.execute('migrate-continue', { state: 'pre-switchover' });
      assert.equal(await codeOf(reception.result), 'completed');
      await source.waitMigration('completed');
      await expectSameMemory(await loadCapture(join(source.folder, 'capture')), source);
    });
  });
}
