import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { type MigrationInfo, QmpClient, type QmpTimedEvent } from '@pageferry/core/qmp';
import { parseUri, type SocketAddress } from '@pageferry/core/transport';
import { TemporaryFolder } from './lib/capture-files.ts';
import { Cli } from './lib/cli.ts';

/** Background snapshots of a served machine, asked for over QMP. */

async function serve(t: TestContext, folder: string, name: string, ...args: string[]): Promise<QmpClient> {
  const cli = new Cli(['serve', '--json', '--qmp', `unix:${join(folder, name)}`, ...args], t);
  const { address } = await cli.event('listening');
  const client = await QmpClient.connect(parseUri(String(address)) as SocketAddress);
  t.after(() => client.close());
  return client;
}

function capabilities(...names: string[]) {
  return { capabilities: names.map((capability) => ({ capability, state: true })) };
}

/** What a QEMU answered to query-migrate after its snapshot. */
function recordedInfo(version: string): MigrationInfo {
  const path = new URL(`fixtures/${version}/background-snapshot/qmp.json`, import.meta.url);
  const entries: { side: string; command?: { execute: string }; reply?: { return: MigrationInfo } }[] =
    JSON.parse(readFileSync(path, 'utf8'));
  const asked = entries.filter(({ side, command }) => side === 'src' && command?.execute === 'query-migrate');
  return asked.at(-1)!.reply!.return;
}

function keysOf(info: MigrationInfo): string[] {
  return [...Object.keys(info), ...Object.keys(info.ram ?? {}).map((key) => `ram.${key}`)].sort();
}

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await TemporaryFolder.create();
  t.after(() => folder[Symbol.asyncDispose]());
  return folder.path;
}

for (const version of ['7.2', '10.0']) {
  test(`QMP of QEMU ${version}: the machine runs on, and the file runs elsewhere`, async (t) => {
    const folder = await temporaryFolder(t);
    const spec = 'builtin,size=32M,vcpus=2,dirty-rate=20M,mac=52:54:00:00:00:07';
    const source = await serve(t, folder, 'source', '--guest', spec, '--qemu-version', version);
    await source.execute('migrate-set-capabilities', capabilities('events', 'background-snapshot'));
    const path = join(folder, 'snapshot');
    await source.execute('migrate', { uri: `file:${path}` });
    const completed = ({ data }: { data?: Record<string, unknown> }) => data?.status === 'completed';
    await source.waitForEvent('MIGRATION', completed);
    const said = source.events.map(({ event, data }) => data?.status ?? event);
    assert.deepEqual(said, ['setup', 'active', 'STOP', 'RESUME', 'completed']);
    const info = await source.execute('query-migrate');
    assert.equal(info.status, 'completed');
    assert.deepEqual(keysOf(info), keysOf(recordedInfo(version)));
    assert.equal(info.ram!.remaining, 0);
    assert.equal(info.ram!['dirty-sync-count'], 0);
    assert.ok(info.downtime! < info['total-time']!);
    assert.deepEqual((await source.execute('query-status')).running, true);
    // Once more: the machine was not handed over.
    const { length } = source.events;
    await source.execute('migrate', { uri: `file:${path}` });
    const again = (event: QmpTimedEvent) => completed(event) && source.events.indexOf(event) >= length;
    await source.waitForEvent('MIGRATION', again);
    const copy = await serve(t, folder, 'copy', '--guest', 'builtin', '--incoming', `file:${path}`);
    await copy.waitForEvent('RESUME');
    assert.equal((await copy.execute('query-status')).status, 'running');
  });
}

test('conflicts are refused when capabilities are set, in one call or in two', async (t) => {
  const folder = await temporaryFolder(t);
  const client = await serve(t, folder, 'one', '--guest', 'builtin,size=16M');
  const set = (...names: string[]) => client.execute('migrate-set-capabilities', capabilities(...names));
  await assert.rejects(set('background-snapshot', 'multifd'), /background-snapshot.*multifd/);
  await set('background-snapshot', 'events', 'dirty-limit');
  for (const name of ['return-path', 'xbzrle', 'auto-converge', 'pause-before-switchover', 'validate-uuid']) {
    await assert.rejects(set(name), new RegExp(`background-snapshot.*${name}`));
  }
});

test('a guest whose writes cannot be tracked has no such capability', async (t) => {
  const folder = await temporaryFolder(t);
  const image = join(folder, 'image');
  const first = await serve(t, folder, 'first', '--guest', 'builtin,size=16M');
  await first.execute('migrate', { uri: `file:${image}` });
  await first.waitForEvent('STOP');
  for (let info = await first.execute('query-migrate'); info.status !== 'completed'; )
    info = await first.execute('query-migrate');
  const second = await serve(t, folder, 'second', '--image', image);
  const asked = second.execute('migrate-set-capabilities', capabilities('background-snapshot'));
  await assert.rejects(asked, /background-snapshot: the guest's writes cannot be tracked/);
});
