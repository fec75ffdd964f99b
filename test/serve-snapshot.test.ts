import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import type { QmpTimedEvent } from '@pageferry/core/qmp';
import { lastMigrationInfo } from './lib/fixtures.ts';
import { enable, membersOf, reach } from './lib/migration-phases.ts';
import { Served } from './lib/served.ts';

/** Background snapshots of a served machine, asked for over QMP. */

/** What a QEMU answered to query-migrate after its snapshot. */
const recordedInfo = (version: string) => lastMigrationInfo(`${version}/background-snapshot`, 'src')!;

for (const version of ['7.2', '10.0']) {
  test(`QMP of QEMU ${version}: the machine runs on, and the file runs elsewhere`, {
    timeout: 60_000,
  }, async () => {
    const spec = 'builtin,size=32M,vcpus=2,dirty-rate=20M,mac=52:54:00:00:00:07';
    await using served = await Served.start('--guest', spec, '--qemu-version', version);
    const source = served.qmp;
    await enable(source, 'events', 'background-snapshot');
    const path = join(served.folder, 'snapshot');
    await source.execute('migrate', { uri: `file:${path}` });
    const completed = ({ data }: { data?: Record<string, unknown> }) => data?.status === 'completed';
    await source.waitForEvent('MIGRATION', completed);
    const said = source.events.map(({ event, data }) => data?.status ?? event);
    assert.deepEqual(said, ['setup', 'active', 'STOP', 'RESUME', 'completed']);
    const info = await source.execute('query-migrate');
    assert.equal(info.status, 'completed');
    assert.deepEqual(membersOf(info), membersOf(recordedInfo(version)));
    assert.equal(info.ram!.remaining, 0);
    assert.equal(info.ram!['dirty-sync-count'], 0);
    assert.ok(info.downtime! < info['total-time']!);
    assert.deepEqual((await source.execute('query-status')).running, true);
    // Once more: the machine was not handed over.
    const { length } = source.events;
    await source.execute('migrate', { uri: `file:${path}` });
    const again = (event: QmpTimedEvent) => completed(event) && source.events.indexOf(event) >= length;
    await source.waitForEvent('MIGRATION', again);
    await using copy = await Served.start('--guest', 'builtin', '--incoming', `file:${path}`);
    await copy.qmp.waitForEvent('RESUME');
    assert.equal((await copy.qmp.execute('query-status')).status, 'running');
  });
}

test('conflicts are refused when capabilities are set, in one call or in two', async () => {
  await using served = await Served.start('--guest', 'builtin,size=16M');
  const { qmp } = served;
  await assert.rejects(enable(qmp, 'background-snapshot', 'multifd'), /background-snapshot.*multifd/);
  await enable(qmp, 'background-snapshot', 'events', 'dirty-limit');
  for (const name of ['return-path', 'xbzrle', 'auto-converge', 'pause-before-switchover', 'validate-uuid']) {
    await assert.rejects(enable(qmp, name), new RegExp(`background-snapshot.*${name}`));
  }
});

test('a guest whose writes cannot be tracked has no such capability', async () => {
  await using first = await Served.start('--guest', 'builtin,size=16M');
  const image = join(first.folder, 'image');
  await first.qmp.execute('migrate', { uri: `file:${image}` });
  await reach(first.qmp, 'completed');
  await using second = await Served.start('--image', image);
  await assert.rejects(enable(second.qmp, 'background-snapshot'), /background-snapshot.*writes/);
});
