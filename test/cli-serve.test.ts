import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { QmpClient } from '@pageferry/core/qmp';
import { parseUri, type SocketAddress } from '@pageferry/core/transport';
import { TemporaryFolder } from './lib/capture-files.ts';
import { Cli, jsonLines } from './lib/cli.ts';

interface Served {
  cli: Cli;
  client: QmpClient;
  address: SocketAddress;
}

async function serve(t: TestContext, ...args: string[]): Promise<Served> {
  const folder = await TemporaryFolder.create();
  t.after(() => folder[Symbol.asyncDispose]());
  const cli = new Cli(['serve', '--json', '--qmp', `unix:${join(folder.path, 'qmp')}`, ...args], t);
  const { address: uri } = await cli.event('listening');
  const address = parseUri(String(uri)) as SocketAddress;
  const client = await QmpClient.connect(address);
  t.after(() => client.close());
  return { cli, client, address };
}

const SMALL = ['--guest', 'builtin,size=16M'];

test('serve: a machine under QMP, until quit', async (t) => {
  const uuid = '6f1ed002-ab60-4a2c-8a3f-0123456789ab';
  const { cli, client, address } = await serve(t, ...SMALL, '--name', 'one', '--uuid', uuid, '-S');
  assert.deepEqual(client.version.qemu, { major: 10, minor: 0, micro: 0 });
  assert.deepEqual(await client.execute('query-status'), { status: 'prelaunch', running: false });
  assert.deepEqual(await client.execute('query-name'), { name: 'one' });
  assert.deepEqual(await client.execute('query-uuid'), { UUID: uuid });
  assert.deepEqual(await client.execute('query-migrate'), {});
  const second = await QmpClient.connect(address);
  await client.execute('cont');
  await second.waitForEvent('RESUME');
  assert.deepEqual(await second.execute('query-status'), { status: 'running', running: true });
  await second.execute('stop');
  assert.deepEqual(await client.execute('query-status'), { status: 'paused', running: false });
  // The second may come too late for an answer.
  const [quit] = await Promise.allSettled([client.execute('quit'), client.execute('quit')]);
  assert.deepEqual(quit, { status: 'fulfilled', value: {} });
  for (const each of [client, second]) {
    await each.closed;
    assert.deepEqual(
      each.events.map(({ event }) => event),
      ['RESUME', 'STOP', 'SHUTDOWN'],
    );
    assert.deepEqual(each.events.at(-1)!.data, { guest: false, reason: 'host-qmp-quit' });
  }
  const result = await cli.finished();
  assert.equal(result.code, 0, result.stderr);
  const lines = jsonLines(result.stdout).map(({ event, name }) => name ?? event);
  assert.deepEqual(lines, ['listening', 'RESUME', 'STOP', 'SHUTDOWN']);
});

test('serve: the monitor for people says and does the same', async (t) => {
  const { client } = await serve(t, ...SMALL, '--qemu-version', '7.2', '-S');
  const hmp = (line: string) => client.execute('human-monitor-command', { 'command-line': line });
  assert.equal(await hmp('migrate_set_parameter max-bandwidth 3'), '');
  assert.equal((await client.execute('query-migrate-parameters'))['max-bandwidth'], 3 << 20);
  assert.match(await hmp('info migrate_parameters'), /^max-bandwidth: 3145728 bytes\/second\r$/m);
  assert.match(await hmp('migrate_set_parameter announce-step 0'), /^Error: announce-step .*\r\n$/);
  assert.match(await hmp('migrate_set_capability x-colo on'), /^Error: capability x-colo is not supported/);
  assert.equal(await hmp('info status'), 'VM status: paused (prelaunch)\r\n');
  await hmp('migrate -d tcp:127.0.0.1:1');
  const failed = async () => (await client.execute('query-migrate')).status === 'failed';
  while (!(await failed())) await sleep(10);
  assert.match(await hmp('info migrate'), /^globals:\r\n(.*\r\n)+Migration status: failed \(.*\)\r\n/);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`serve: ${signal} ends it cleanly`, async (t) => {
    const { cli, client } = await serve(t, ...SMALL);
    cli.signal(signal);
    await client.closed;
    assert.deepEqual(client.events.at(-1)!.data, { guest: false, reason: 'host-signal' });
    const result = await cli.finished();
    assert.equal(result.code, 0, result.stderr);
  });
}

test('serve: a destination that gets no guest ends with an error', async (t) => {
  const { cli, client } = await serve(t, '--incoming', 'tcp:127.0.0.1:0', '--qemu-version', '7.2');
  const [address] = (await client.execute('query-migrate'))['socket-address']!;
  assert.ok(address?.type === 'inet' && Number(address.port) > 0);
  assert.equal((await client.execute('query-status')).status, 'inmigrate');
  connect(Number(address.port), '127.0.0.1').end('QEVM\0\0\0\x03rubbish');
  await client.closed;
  const result = await cli.finished();
  assert.equal(result.code, 1);
  assert.match(result.stderr, /^pageferry: /m);
});
