import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cli, lastEvent, runCli } from './lib/cli.ts';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { expectLiveGuest } from './lib/guest-alive.ts';
import { Qemu } from './lib/qemu.ts';
import { configure } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';
import { checkTinyGuest } from './lib/tiny-guest.ts';

const MULTIFD = { compression: 'zstd', channels: 2 } as const;
const FLAGS = ['--multifd-channels', '2', '--multifd-compression', 'zstd', '--json'];

for (const version of QEMU_VERSIONS) {
  qemuTest(
    version,
    `QEMU ${version}: pageferry receive, inspect, extract, send: the guest lives on`,
    async (t) => {
      await using source = await Qemu.start({ version });
      await source.waitForMoreSerial(1);
      const capture = join(source.folder, 'capture');

      const receiver = new Cli(['receive', 'tcp:127.0.0.1:0', '--out', capture, ...FLAGS], t);
      const { address } = await receiver.event('listening');
      await configure(source, MULTIFD);
      await source.migrateIterating(String(address));
      const received = await receiver.finished();
      assert.equal(received.code, 0, received.stderr);
      assert.equal(lastEvent(received).status, 'completed');

      const inspected = await runCli('inspect', capture);
      assert.equal(inspected.code, 0, inspected.stderr);
      for (const found of ['pc.ram', `pc-i440fx-${version}`, 'serial']) {
        assert.ok(inspected.stdout.includes(found), `inspect does not tell of ${found}: ${inspected.stdout}`);
      }

      const raw = join(source.folder, 'pc.ram');
      const extracted = await runCli('extract', capture, '--block', 'pc.ram', '--out', raw);
      assert.equal(extracted.code, 0, extracted.stderr);
      assert.deepEqual(checkTinyGuest(readFileSync(raw)).problems, []);

      await using destination = await Qemu.start({ version, incoming: 'defer' });
      await configure(destination, MULTIFD);
      const sent = await runCli('send', capture, await destination.listen('tcp:127.0.0.1:0'), ...FLAGS);
      assert.equal(sent.code, 0, sent.stderr);
      assert.equal(lastEvent(sent).status, 'completed');
      await expectLiveGuest(destination);
    },
  );

  qemuTest(
    version,
    `QEMU ${version}: when pageferry receive is interrupted, the guest runs on`,
    async (t) => {
      await using source = await Qemu.start({ version });
      await source.waitForMoreSerial(1);
      const receiver = new Cli(
        ['receive', 'tcp:127.0.0.1:0', '--out', join(source.folder, 'capture'), '--json'],
        t,
      );
      const { address } = await receiver.event('listening');
      await source.setParameters({ 'max-bandwidth': 1 << 20, 'downtime-limit': 1 });
      await source.migrate(String(address));
      await source.waitMigration('active');
      receiver.signal('SIGINT');
      assert.equal((await receiver.finished()).code, 130);
      await source.waitMigration('failed');
      await source.waitForMoreSerial();
      const left = readdirSync(source.folder).filter((name) => name.includes('capture'));
      assert.deepEqual(left, []);
    },
  );
}
