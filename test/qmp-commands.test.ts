import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type MigrationChannel, QmpClient, QmpError } from '@pageferry/core/qmp';
import { FrameCatcher } from './lib/frame-catcher.ts';
import { enable, listen, reach, running } from './lib/migration-phases.ts';
import { Served } from './lib/served.ts';

/** The commands of `pageferry serve`, beside what qmp-phases.test.ts drives. */

const LIMIT = { timeout: 120_000 };
const GUEST = ['--guest', 'builtin,size=32M,vcpus=2,dirty-rate=32M'];

test('the dirty rate is measured, and limited', LIMIT, async () => {
  await using served = await Served.start(...GUEST);
  const { qmp } = served;
  assert.equal((await qmp.execute('query-dirty-rate')).status, 'unstarted');
  for (const [args, text] of [
    [{ 'calc-time': 0 }, /calc-time/],
    [{ 'calc-time': 61 }, /calc-time/],
    [{ 'calc-time': 1, 'sample-pages': 5 }, /sample-pages/],
    [{ 'calc-time': 1, mode: 'dirty-bitmap', 'sample-pages': 512 }, /sample-pages/],
  ] as const) {
    await assert.rejects(qmp.execute('calc-dirty-rate', args), text);
  }
  await qmp.execute('calc-dirty-rate', {
    'calc-time': 600,
    'calc-time-unit': 'millisecond',
    mode: 'dirty-ring',
  });
  await assert.rejects(qmp.execute('calc-dirty-rate', { 'calc-time': 1 }), /being measured/);
  assert.equal((await qmp.execute('query-dirty-rate')).status, 'measuring');
  while ((await qmp.execute('query-dirty-rate')).status !== 'measured') await sleep(50);
  const rate = await qmp.execute('query-dirty-rate', { 'calc-time-unit': 'millisecond' });
  assert.ok(rate['dirty-rate']! > 5 && rate['dirty-rate']! < 45, `${rate['dirty-rate']} MiB/s of 32`);
  assert.equal(rate['calc-time'], 600);
  assert.equal(rate['vcpu-dirty-rate']!.length, 2);
  assert.ok(Math.abs(rate['start-time'] - Date.now() / 1000) < 60);

  assert.deepEqual(await qmp.execute('query-vcpu-dirty-limit'), []);
  await assert.rejects(qmp.execute('set-vcpu-dirty-limit', { 'cpu-index': 2, 'dirty-rate': 1 }), /cpu-index/);
  await qmp.execute('set-vcpu-dirty-limit', { 'dirty-rate': 2 });
  const limits = await qmp.execute('query-vcpu-dirty-limit');
  assert.deepEqual(
    limits.map((limit) => [limit['cpu-index'], limit['limit-rate']]),
    [
      [0, 2],
      [1, 2],
    ],
  );
  await qmp.execute('cancel-vcpu-dirty-limit', { 'cpu-index': 0 });
  assert.equal((await qmp.execute('query-vcpu-dirty-limit')).length, 1);
  await qmp.execute('cancel-vcpu-dirty-limit');
  assert.deepEqual(await qmp.execute('query-vcpu-dirty-limit'), []);
});

test('a migration with dirty-limit has the limits to itself', LIMIT, async () => {
  await using served = await Served.start('--guest', 'builtin,size=32M,vcpus=2,dirty-rate=400M');
  await using peer = await Served.start('--incoming', 'defer');
  const { qmp } = served;
  await qmp.execute('set-vcpu-dirty-limit', { 'dirty-rate': 200 });
  await qmp.execute('cancel-vcpu-dirty-limit');
  await enable(qmp, 'events', 'dirty-limit');
  await qmp.execute('migrate-set-parameters', { 'max-bandwidth': 20 << 20, 'vcpu-dirty-limit': 20 });
  await qmp.execute('migrate', { uri: await listen(peer.qmp) });
  while ((await qmp.execute('query-vcpu-dirty-limit')).length < 2) await sleep(20);
  await assert.rejects(qmp.execute('set-vcpu-dirty-limit', { 'dirty-rate': 0 }), /dirty-limit is on/);
  await assert.rejects(qmp.execute('cancel-vcpu-dirty-limit'), /dirty-limit is on/);
  await qmp.execute('migrate_cancel');
  await reach(qmp, 'cancelled');
  assert.deepEqual(await qmp.execute('query-vcpu-dirty-limit'), []);
  await qmp.execute('set-vcpu-dirty-limit', { 'dirty-rate': 5 });
});

test('a client cannot send a guest into a descriptor of the process', LIMIT, async () => {
  await using served = await Served.start(...GUEST);
  const addr = { transport: 'socket', type: 'fd', str: '2' } as const;
  const refused = /getfd, which is not supported/;
  await assert.rejects(served.qmp.execute('migrate', { uri: 'fd:2' }), refused);
  const channels: MigrationChannel[] = [{ 'channel-type': 'main', addr }];
  await assert.rejects(served.qmp.execute('migrate', { channels }), refused);
  assert.deepEqual(await served.qmp.execute('query-migrate'), {});
});

test('a line for a CPU that is not there is refused', LIMIT, async () => {
  await using served = await Served.start(...GUEST);
  const ask = (cpu: number) =>
    served.qmp.execute('human-monitor-command', { 'command-line': 'info status', 'cpu-index': cpu });
  assert.match(await ask(1), /running/);
  await assert.rejects(ask(2), /no CPU with cpu-index 2/);
});

test('announce-self sends as many frames as it is told', LIMIT, async () => {
  await using catcher = await FrameCatcher.open();
  await using served = await Served.start(
    '--guest',
    `builtin,size=16M,mac=52:54:00:aa:bb:cc,network=udp:127.0.0.1:${catcher.port}`,
  );
  await assert.rejects(served.qmp.execute('announce-self', { initial: 1 } as never), /max is missing/);
  await served.qmp.execute('announce-self', { initial: 10, max: 20, rounds: 3, step: 5 });
  await catcher.caught(3);
  for (const { bytes } of catcher.frames) assert.equal(bytes.subarray(6, 12).toString('hex'), '525400aabbcc');
});

test('the release decides which commands and arguments there are', LIMIT, async () => {
  const addr = { transport: 'socket', type: 'inet', host: '127.0.0.1', port: '1' } as const;
  const channels = [{ 'channel-type': 'main' as const, addr }];
  for (const [version, hasChannels] of [
    ['7.2', false],
    ['10.0', true],
  ] as const) {
    await using served = await Served.start(...GUEST, '--qemu-version', version);
    const { qmp } = served;
    const refusal = await qmp.execute('migrate', { channels }).catch((error: QmpError) => error);
    assert.equal(refusal instanceof QmpError, !hasChannels);
    if (hasChannels) await reach(qmp, 'failed');
    await assert.rejects(qmp.execute('migrate', { uri: 'nothing:1' }), { class: 'GenericError' });
    const { status } = await qmp.execute('query-migrate');
    assert.equal(status, 'failed', 'of the migration before, or because of the scheme');
    const names = (await qmp.execute('query-commands')).map(({ name }) => name);
    for (const name of names.filter((each) => each.startsWith('query-'))) await qmp.execute(name);
    assert.ok(
      ['migrate', 'migrate_cancel', 'announce-self', 'calc-dirty-rate'].every((n) => names.includes(n)),
    );
    const parameters = await qmp.execute('query-migrate-parameters');
    assert.equal('compress-level' in parameters, !hasChannels);
    await assert.rejects(qmp.execute('no-such'), { class: 'CommandNotFound' });
  }
});

test('capabilities of a transport that it lacks, and settings that are not supported', LIMIT, async () => {
  await using served = await Served.start(...GUEST);
  const { qmp } = served;
  await assert.rejects(enable(qmp, 'x-colo'), /x-colo is not supported/);
  await assert.rejects(
    qmp.execute('migrate-set-parameters', { 'tls-creds': 'x' }),
    /tls-creds is not supported/,
  );
  await enable(qmp, 'multifd');
  await assert.rejects(qmp.execute('migrate', { uri: 'exec:cat >/dev/null' }), /several connections/);
  assert.deepEqual(await qmp.execute('query-migrate'), {});
  await assert.rejects(qmp.execute('migrate-pause'), /postcopy/);
});

test('a guest is held by one destination, goes on to the next, and runs there', LIMIT, async () => {
  await using last = await Served.start('--guest', 'builtin', '--incoming', 'defer');
  await using middle = await Served.start('--incoming', 'defer');
  await using first = await Served.start(...GUEST, '--uuid', '6f1ed002-ab60-4a2c-8a3f-0123456789ab');
  for (const { qmp } of [first, middle]) {
    // Without validate-uuid no UUID is sent.
    await enable(qmp, 'return-path', 'events', 'validate-uuid');
    await qmp.execute('migrate-set-parameters', { 'downtime-limit': 2000 });
  }
  const path = join(middle.folder, 'migration');
  await listen(middle.qmp, `unix:${path}`);
  assert.deepEqual((await middle.qmp.execute('query-migrate'))['socket-address'], [{ type: 'unix', path }]);
  await first.qmp.execute('migrate', { uri: `unix:${path}` });
  await reach(first.qmp, 'completed');
  await running(middle.qmp);
  assert.deepEqual(await middle.qmp.execute('query-uuid'), { UUID: '6f1ed002-ab60-4a2c-8a3f-0123456789ab' });
  // Its owner stops it on the way: it arrives stopped.
  await middle.qmp.execute('stop');
  await middle.qmp.execute('migrate', { uri: await listen(last.qmp) });
  await reach(middle.qmp, 'completed');
  await reach(last.qmp, 'completed');
  assert.deepEqual(await middle.qmp.execute('query-status'), { status: 'postmigrate', running: false });
  assert.deepEqual(await last.qmp.execute('query-status'), { status: 'paused', running: false });
  await last.qmp.execute('cont');
  await last.qmp.execute('calc-dirty-rate', { 'calc-time': 1, mode: 'dirty-ring' });
  while ((await last.qmp.execute('query-dirty-rate')).status !== 'measured') await sleep(50);
  assert.ok((await last.qmp.execute('query-dirty-rate'))['dirty-rate']! > 5, 'the guest does not run');
  // The middle one can still be sent anywhere else, as a QEMU in postmigrate can after cont.
  await middle.qmp.execute('cont');
  assert.equal((await middle.qmp.execute('query-status')).status, 'running');
});

test('exit-on-error off: a destination whose guest did not come tells why', LIMIT, async () => {
  await using served = await Served.start('--incoming', 'defer');
  const { qmp } = served;
  await qmp.execute('migrate-incoming', { uri: 'exec:printf rubbish', 'exit-on-error': false });
  const info = await reach(qmp, 'failed');
  assert.match(info['error-desc']!, /./);
  assert.deepEqual(await qmp.execute('query-status'), { status: 'inmigrate', running: false });
  await assert.rejects(
    qmp.execute('migrate-incoming', { uri: 'tcp:127.0.0.1:0' }),
    /waits for its guest already/,
  );
});

test('an address that cannot be listened on leaves the destination as it was', LIMIT, async () => {
  await using served = await Served.start('--incoming', 'defer');
  const { qmp } = served;
  await assert.rejects(qmp.execute('migrate-incoming', { uri: 'unix:/no/such/folder/x' }), /listen/);
  await assert.rejects(qmp.execute('migrate-incoming', { uri: 'nothing:1' }), QmpError);
  assert.match(await listen(qmp), /^tcp:127\.0\.0\.1:\d+$/);
});

test('clients that go away or send rubbish do not disturb a migration', LIMIT, async () => {
  await using destination = await Served.start('--guest', 'builtin', '--incoming', 'defer');
  await using source = await Served.start(...GUEST);
  const socket = { transport: 'unix' as const, path: join(source.folder, 'qmp') };
  await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 16 << 20, 'downtime-limit': 2000 });
  await (await QmpClient.connect(socket))
    .execute('migrate', { uri: await listen(destination.qmp) })
    .then(() => {});
  for (let i = 0; i < 20; i++) {
    const client = connect(socket.path);
    client.on('error', () => {});
    client.write(
      i % 2 === 0 ? '{"execute":"qmp_capabilities"}{"execute":"migrate' : Buffer.alloc(100_000, i),
    );
    await sleep(10);
    client.destroy();
  }
  await reach(source.qmp, 'completed');
  await running(destination.qmp);
});

test('settings that come after the address was given hold for the guest that comes', LIMIT, async () => {
  const multifd = { 'multifd-channels': 3, 'multifd-compression': 'zlib' } as const;
  const incoming = ['--guest', 'builtin', '--incoming', 'tcp:127.0.0.1:0'];
  await using destination = await Served.start(...incoming, '--qemu-version', '7.2');
  await using source = await Served.start(...GUEST, '--qemu-version', '7.2');
  const before = (await destination.qmp.execute('query-migrate'))['socket-address']!;
  for (const { qmp } of [destination, source]) {
    await enable(qmp, 'multifd', 'events');
    await qmp.execute('migrate-set-parameters', { ...multifd, 'downtime-limit': 2000 });
  }
  const [address] = (await destination.qmp.execute('query-migrate'))['socket-address']!;
  assert.deepEqual(before, [address], 'it listens where it did');
  assert.ok(address?.type === 'inet');
  await source.qmp.execute('migrate', { uri: `tcp:127.0.0.1:${address.port}` });
  const info = await reach(source.qmp, 'completed');
  assert.ok(info.ram!['multifd-bytes'] > 0);
  await running(destination.qmp);
  const states = destination.qmp.events.map(({ event, data }) => data?.status ?? event);
  assert.deepEqual(states, ['active', 'RESUME', 'completed']);
});
