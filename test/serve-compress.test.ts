import assert from 'node:assert/strict';
import test from 'node:test';
import { lastMigrationInfo } from './lib/fixtures.ts';
import { enable, listen, membersOf } from './lib/migration-phases.ts';
import { Served } from './lib/served.ts';

/** Compress threads of served machines, asked for over QMP. */

test('QMP of QEMU 7.2: query-migrate tells what the compress threads did', { timeout: 60_000 }, async () => {
  const version = ['--qemu-version', '7.2'];
  const guest = 'builtin,size=16M,vcpus=1,dirty-rate=1M';
  await using source = await Served.start('--guest', guest, ...version);
  await using destination = await Served.start('--guest', 'builtin', '--incoming', 'defer', ...version);
  for (const { qmp } of [source, destination]) {
    await enable(qmp, 'events', 'compress');
    await assert.rejects(enable(qmp, 'multifd'), /compress/);
  }
  await source.qmp.execute('migrate-set-parameters', { 'compress-threads': 2, 'compress-level': 2 });
  await destination.qmp.execute('migrate-set-parameters', { 'decompress-threads': 1 });
  await source.qmp.execute('migrate', { uri: await listen(destination.qmp) });
  await source.qmp.waitForEvent('MIGRATION', ({ data }) => data?.status === 'completed');
  const info = await source.qmp.execute('query-migrate');
  assert.deepEqual(membersOf(info), membersOf(lastMigrationInfo('7.2/compress', 'src')!));
  assert.ok(info.compression!.pages > 100);
  assert.ok(info.compression!['compressed-size'] > 0);
  await destination.qmp.waitForEvent('RESUME');
});

test('QMP of QEMU 10.0 does not know the capability', async () => {
  await using served = await Served.start('--guest', 'builtin,size=16M');
  await assert.rejects(enable(served.qmp, 'compress'), /compress/);
});
