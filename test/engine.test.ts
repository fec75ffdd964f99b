import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTo, createServer, type Socket } from 'node:net';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { MigrationError } from '@pageferry/core';
import type { MigrateOptions, MigrationEvent, Progress } from '@pageferry/core/control';
import { migrate, receive } from '@pageferry/workers';
import { TestGuest, TestTarget } from '../packages/core/src/testing/test-guests.ts';

/** The engine put together: coordinator thread, workers, sockets, and how it ends badly. */

const MULTIFD: MigrateOptions = { multifd: true, multifdChannels: 2 };

async function fails(result: Promise<unknown>, code: string): Promise<MigrationError> {
  const error = await result.then(
    () => assert.fail('it did not fail'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof MigrationError, String(error));
  assert.equal(error.code, code, error.message);
  return error;
}

/** A peer that accepts everything and reads nothing. */
async function blackHole() {
  const sockets: Socket[] = [];
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => {});
    sockets.push(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const close = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { uri: `tcp:127.0.0.1:${address.port}`, close };
}

for (const [name, options] of [
  ['plain', {}],
  ['multifd', MULTIFD],
  ['multifd zstd', { ...MULTIFD, multifdCompression: 'zstd' }],
  ['multifd adaptive', { ...MULTIFD, multifdCompression: 'adaptive' }],
] as const) {
  test(`${name}: from guest to guest, with progress on both sides`, async () => {
    const guest = new TestGuest();
    const target = new TestTarget();
    const reception = receive('tcp:127.0.0.1:0', { ...options, guest: target, progressIntervalMs: 5 });
    const uri = await reception.listening;
    assert.match(uri, /^tcp:127\.0\.0\.1:\d+$/);
    const bandwidth = { maxBandwidthBytesPerSecond: 2_000_000, progressIntervalMs: 5 };
    const migration = migrate(guest, uri, { ...options, ...bandwidth });
    const seen: Progress[] = [];
    for await (const progress of migration.progress) seen.push(progress);
    const result = await migration.result;
    assert.equal((await reception.result).status, 'completed');
    assert.equal(result.ram.total, 308 * 4096);
    assert.ok(seen.length > 1 && seen.every((progress) => progress.role === 'source'));
    assert.ok(seen.some((progress) => progress.status === 'active' && progress.ram.transferred > 0));
    for (const [index, block] of guest.blocks.entries()) {
      assert.ok(Buffer.from(block.bytes).equals(Buffer.from(target.blocks[index]!.bytes)));
    }
    assert.ok(target.started && !guest.control.running);
    assert.equal(migration.status, 'completed');
  });
}

test('nobody listens: connect-failed, and the guest runs on', async () => {
  const hole = await blackHole();
  hole.close();
  const guest = new TestGuest();
  const error = await fails(migrate(guest, hole.uri).result, 'connect-failed');
  assert.equal(error.phase, 'connect');
  assert.ok(guest.control.running);
});

test('multifd over a transport with one connection is refused', async () => {
  await fails(migrate(new TestGuest(), 'exec:cat >/dev/null', MULTIFD).result, 'bad-option');
  await fails(receive('exec:cat /dev/null', { ...MULTIFD, guest: new TestTarget() }).result, 'bad-option');
});

/** Takes `free` connections and answers no further one, as a host that is overrun: nobody accepts them. */
async function deafPeer(free: number) {
  const backlog = 4;
  const code = `
    const { createServer } = require('node:net');
    const { parentPort } = require('node:worker_threads');
    const server = createServer().listen({ port: 0, host: '127.0.0.1', backlog: ${backlog} }, () => {
      parentPort.postMessage(server.address().port);
      setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
    });`;
  const worker = new Worker(code, { eval: true });
  const [port] = (await once(worker, 'message')) as [number];
  // The worker is blocked soon after.
  await delay(100);
  const taken: Socket[] = [];
  // The kernel's queue holds one more than it is told.
  for (let i = 0; i < backlog + 1 - free; i++) {
    const socket = connectTo(port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
    taken.push(socket);
  }
  const close = async () => {
    for (const socket of taken) socket.destroy();
    await worker.terminate();
  };
  return { uri: `tcp:127.0.0.1:${port}`, close };
}

for (const [name, options, free] of [
  ['the main channel', {}, 0],
  ['page channels', MULTIFD, 1],
] as const) {
  test(`cancelled within a second while connecting ${name}`, async () => {
    const peer = await deafPeer(free);
    const guest = new TestGuest();
    const migration = migrate(guest, peer.uri, options);
    await until(migration, 'setup');
    await delay(300);
    assert.equal((await migration.query()).status, 'setup');
    const started = performance.now();
    migration.cancel();
    await fails(migration.result, 'cancelled');
    assert.ok(performance.now() - started < 1000, `${performance.now() - started} ms`);
    assert.equal((await migration.query()).status, 'cancelled');
    assert.ok(guest.control.running);
    await peer.close();
  });
}

for (const [name, options, hangs] of [
  ['page channels are owed', MULTIFD, undefined],
  ['the guest is being prepared', {}, 'prepare'],
  ['the guest is being loaded', {}, 'load'],
] as const) {
  test(`a destination is cancelled within a second while ${name}`, async () => {
    const target = new TestTarget();
    const reached = Promise.withResolvers<void>();
    if (hangs !== undefined) {
      target[hangs] = () => {
        reached.resolve();
        return new Promise<never>(() => {});
      };
    }
    const reception = receive('tcp:127.0.0.1:0', { ...options, guest: target });
    const guest = new TestGuest();
    // Of this source comes only the main channel.
    const migration = migrate(guest, await reception.listening);
    if (hangs === undefined) await delay(300);
    else await reached.promise;
    const started = performance.now();
    reception.cancel();
    await fails(reception.result, 'cancelled');
    assert.ok(performance.now() - started < 1300, `${performance.now() - started} ms`);
    assert.equal((await reception.query()).status, 'cancelled');
    await migration.result.catch(() => {});
    assert.ok(target.discarded && !target.started && guest.control.running);
  });
}

for (const [name, options] of [
  ['plain', {}],
  ['multifd', MULTIFD],
] as const) {
  test(`${name}: cancelled within a second while the peer reads nothing`, async () => {
    const hole = await blackHole();
    const guest = new TestGuest();
    const abort = new AbortController();
    const migration = migrate(guest, hole.uri, { ...options, signal: abort.signal });
    setTimeout(() => abort.abort(), 400);
    const started = performance.now();
    await fails(migration.result, 'cancelled');
    assert.ok(performance.now() - started < 1500, `${performance.now() - started} ms`);
    assert.ok(guest.control.running);
    hole.close();
  });

  test(`${name}: a peer that says nothing: stall-timeout`, async () => {
    const hole = await blackHole();
    const guest = new TestGuest();
    await fails(migrate(guest, hole.uri, { ...options, stallTimeoutMs: 300 }).result, 'stall-timeout');
    assert.ok(guest.control.running);
    hole.close();
  });
}

test('a destination that nobody comes to is cancelled within a second', async () => {
  const target = new TestTarget();
  const reception = receive('tcp:127.0.0.1:0', { guest: target });
  await reception.listening;
  const started = performance.now();
  reception.cancel();
  await fails(reception.result, 'cancelled');
  assert.ok(performance.now() - started < 1000);
  assert.ok(target.discarded);
});

test('an address that cannot be listened on', async () => {
  const hole = await blackHole();
  const reception = receive(hole.uri, { guest: new TestTarget() });
  await fails(reception.result, 'listen-failed');
  await fails(reception.listening, 'listen-failed');
  hole.close();
});

test('a guest that cannot save its devices runs on, and the destination is left with nothing', async () => {
  const guest = new TestGuest();
  guest.saveDeviceState = async () => {
    throw new Error('no power');
  };
  const target = new TestTarget();
  const reception = receive('tcp:127.0.0.1:0', { guest: target });
  const error = await fails(migrate(guest, await reception.listening).result, 'guest-failed');
  assert.match(error.message, /no power/);
  assert.ok(guest.control.running);
  assert.deepEqual(guest.calls, ['inactivate', 'activate']);
  const lost = await reception.result.catch((thrown: MigrationError) => thrown.code);
  assert.ok(lost === 'truncated' || lost === 'connection-lost', String(lost));
  assert.ok(target.discarded && !target.started);
});

test('garbage instead of a migration', async () => {
  const target = new TestTarget();
  const reception = receive('tcp:127.0.0.1:0', { guest: target });
  const port = Number((await reception.listening).split(':').at(-1));
  const { connect } = await import('node:net');
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write('GET / HTTP/1.0\r\n\r\n');
  const error = await fails(reception.result, 'bad-magic');
  assert.match(error.message, /47455420/);
  socket.destroy();
});

test('options out of range are refused at once', () => {
  assert.throws(() => migrate(new TestGuest(), 'tcp::1', { multifdChannels: 256 }), { code: 'bad-option' });
  assert.throws(() => migrate(new TestGuest(), 'tcp::1', { multifdZlibLevel: 10 }), { code: 'bad-option' });
});

/** Events as short words, in the order in which they came. */
function words(events: readonly MigrationEvent[]): string[] {
  return events.map((event) => {
    if (event.event === 'MIGRATION') return event.data.status;
    if (event.event === 'MIGRATION_PASS') return `pass ${event.data.pass}`;
    return event.event;
  });
}

async function until(migration: { query(): Promise<Progress> }, status: string): Promise<Progress> {
  for (;;) {
    const progress = await migration.query();
    if (progress.status === status) return progress;
    await delay(5);
  }
}

test('pause before the switch-over: the guest stands still, and goes on at continue', async () => {
  const guest = new TestGuest();
  const target = new TestTarget();
  const here: MigrationEvent[] = [];
  const there: MigrationEvent[] = [];
  const reception = receive('tcp:127.0.0.1:0', { guest: target, onEvent: (event) => there.push(event) });
  const uri = await reception.listening;
  const migration = migrate(guest, uri, {
    pauseBeforeSwitchover: true,
    onEvent: (event) => here.push(event),
  });
  const paused = await until(migration, 'pre-switchover');
  assert.ok(paused.setupTimeMs !== undefined && paused.ram.transferred > 0);
  assert.ok(!guest.control.running);
  assert.deepEqual(guest.calls, [], 'the disks are still here');
  await delay(100);
  assert.equal((await migration.query()).status, 'pre-switchover');
  await migration.continue();
  await Promise.all([migration.result, reception.result]);
  const passes = words(here).filter((word) => word.startsWith('pass'));
  assert.deepEqual(
    words(here).filter((word) => !passes.slice(1, -1).includes(word)),
    // As QEMU 7.2 and 10.0 say it.
    ['setup', 'pass 1', 'active', 'STOP', 'pre-switchover', 'device', passes.at(-1), 'completed'],
  );
  assert.deepEqual(words(there), ['setup', 'active', 'RESUME', 'completed']);
  const done = await migration.query();
  assert.equal(done.status, 'completed');
  assert.ok(done.downtimeMs! >= 100 && done.elapsedMs >= done.downtimeMs!);
  assert.equal((await reception.query()).status, 'completed');
  await fails(migration.continue(), 'bad-state');
});

test('cancel ends the pause before the switch-over, and the guest runs on', async () => {
  const guest = new TestGuest();
  const events: MigrationEvent[] = [];
  const reception = receive('tcp:127.0.0.1:0', { guest: new TestTarget() });
  const migration = migrate(guest, await reception.listening, {
    pauseBeforeSwitchover: true,
    onEvent: (event) => events.push(event),
  });
  await until(migration, 'pre-switchover');
  const started = performance.now();
  migration.cancel();
  await fails(migration.result, 'cancelled');
  assert.ok(performance.now() - started < 900);
  assert.ok(guest.control.running);
  assert.deepEqual(guest.calls, []);
  assert.deepEqual(words(events).slice(-5), ['STOP', 'pre-switchover', 'cancelling', 'RESUME', 'cancelled']);
  const after = await migration.query();
  assert.equal(after.status, 'cancelled');
  assert.equal(after.errorDesc, undefined, 'a cancel is no error');
  assert.ok(after.ram.transferred > 0);
  await reception.result.catch(() => {});
});

test('a guest that stands still stays so: no STOP, no RESUME', async () => {
  const guest = new TestGuest();
  await guest.control.stop();
  const events: MigrationEvent[] = [];
  const reception = receive('tcp:127.0.0.1:0', { guest: new TestTarget() });
  const migration = migrate(guest, await reception.listening, {
    pauseBeforeSwitchover: true,
    onEvent: (event) => events.push(event),
  });
  await until(migration, 'pre-switchover');
  migration.cancel();
  await fails(migration.result, 'cancelled');
  assert.ok(!guest.control.running);
  assert.deepEqual(
    words(events).filter((word) => !word.startsWith('pass')),
    ['setup', 'active', 'pre-switchover', 'cancelling', 'cancelled'],
  );
  await reception.result.catch(() => {});
});

test('parameters change while it runs, and only those that may', async () => {
  const guest = new TestGuest();
  const reception = receive('tcp:127.0.0.1:0', { guest: new TestTarget() });
  const migration = migrate(guest, await reception.listening, {
    maxBandwidthBytesPerSecond: 10_000,
    zeroPageDetection: 'none',
  });
  await until(migration, 'active');
  await delay(300);
  assert.equal(migration.status, 'active');
  await fails(migration.continue(), 'bad-state');
  await fails(reception.setParameters({ downtimeLimitMs: 1 }), 'bad-state');
  await fails(migration.setParameters({ downtimeLimitMs: -1 }), 'bad-option');
  const fixed = { multifd: true } as object;
  assert.match((await fails(migration.setParameters(fixed), 'bad-option')).message, /multifd/);
  // 1.2 MB at 10 kB/s would take two minutes.
  await migration.setParameters({ maxBandwidthBytesPerSecond: 0 });
  await Promise.all([migration.result, reception.result]);
  await fails(migration.setParameters({ downtimeLimitMs: 1 }), 'bad-state');
});

test('a migration that failed tells why, afterwards too', async () => {
  const hole = await blackHole();
  hole.close();
  const events: MigrationEvent[] = [];
  const migration = migrate(new TestGuest(), hole.uri, { onEvent: (event) => events.push(event) });
  const error = await fails(migration.result, 'connect-failed');
  assert.deepEqual(words(events), ['setup', 'failed']);
  const progress = await migration.query();
  assert.equal(progress.status, 'failed');
  assert.equal(progress.errorDesc, error.message);
});

test('a guest with a blocker is refused with its newest reason, and one on its way is not sent twice', async () => {
  const guest = new TestGuest();
  guest.reasons = ['a device with state in the host', 'an older reason'];
  assert.throws(() => migrate(guest, 'tcp:127.0.0.1:1'), { code: 'blocked', message: /state in the host/ });
  guest.reasons = [];
  const hole = await blackHole();
  const first = migrate(guest, hole.uri);
  assert.throws(() => migrate(guest, hole.uri), { code: 'bad-state', message: /under way/ });
  first.cancel();
  await fails(first.result, 'cancelled');
  const again = migrate(guest, hole.uri);
  again.cancel();
  await fails(again.result, 'cancelled');
  hole.close();
});

test('wait-unplug: the guest lets go of its devices first', async () => {
  const guest = new TestGuest();
  guest.primaries = ['hostdev0', 'hostdev1'];
  const gone = Promise.withResolvers<void>();
  guest.letGo = gone.promise;
  const events: MigrationEvent[] = [];
  const reception = receive('tcp:127.0.0.1:0', { guest: new TestTarget() });
  const migration = migrate(guest, await reception.listening, { onEvent: (event) => events.push(event) });
  await until(migration, 'wait-unplug');
  await delay(50);
  assert.equal(migration.status, 'wait-unplug');
  gone.resolve();
  await Promise.all([migration.result, reception.result]);
  assert.deepEqual(words(events).slice(0, 6), [
    'setup',
    'UNPLUG_PRIMARY',
    'UNPLUG_PRIMARY',
    'pass 1',
    'wait-unplug',
    'active',
  ]);
  assert.deepEqual(events[1], { event: 'UNPLUG_PRIMARY', data: { 'device-id': 'hostdev0' } });
  assert.ok(!guest.calls.includes('replug hostdev0'));
});

test('wait-unplug: a cancel does not wait for the guest, which keeps its device', async () => {
  const guest = new TestGuest();
  guest.primaries = ['hostdev0'];
  guest.letGo = new Promise(() => {});
  const reception = receive('tcp:127.0.0.1:0', { guest: new TestTarget() });
  const migration = migrate(guest, await reception.listening);
  await until(migration, 'wait-unplug');
  const started = performance.now();
  migration.cancel();
  await fails(migration.result, 'cancelled');
  assert.ok(performance.now() - started < 900);
  assert.deepEqual(guest.calls, ['unplug hostdev0', 'replug hostdev0']);
  assert.ok(guest.control.running);
  await reception.result.catch(() => {});
});

test('wait-unplug: a guest that does not let go fails the migration', async () => {
  const guest = new TestGuest();
  guest.primaries = ['hostdev0'];
  guest.letGo = Promise.reject(new Error('busy'));
  guest.letGo.catch(() => {});
  const reception = receive('tcp:127.0.0.1:0', { guest: new TestTarget() });
  const error = await fails(migrate(guest, await reception.listening).result, 'guest-failed');
  assert.match(error.message, /hostdev0: busy/);
  assert.deepEqual(guest.calls, ['unplug hostdev0', 'replug hostdev0']);
  await reception.result.catch(() => {});
});

test('cancel and retry: a guest that wrote meanwhile arrives whole', async () => {
  for (const options of [{}, MULTIFD]) {
    const guest = new TestGuest();
    let value = 1;
    const writer = setInterval(() => guest.write(Math.floor(Math.random() * 300), value++ & 0xff), 1);
    for (const pauseBeforeSwitchover of [false, true]) {
      const reception = receive('tcp:127.0.0.1:0', { ...options, guest: new TestTarget() });
      const migration = migrate(guest, await reception.listening, {
        ...options,
        pauseBeforeSwitchover,
        maxBandwidthBytesPerSecond: pauseBeforeSwitchover ? 0 : 200_000,
      });
      await until(migration, pauseBeforeSwitchover ? 'pre-switchover' : 'active');
      migration.cancel();
      await fails(migration.result, 'cancelled');
      assert.ok(guest.control.running);
      await reception.result.catch(() => {});
    }
    const target = new TestTarget();
    const reception = receive('tcp:127.0.0.1:0', { ...options, guest: target });
    const migration = migrate(guest, await reception.listening, options);
    await Promise.all([migration.result, reception.result]);
    clearInterval(writer);
    for (const [index, block] of guest.blocks.entries()) {
      assert.ok(Buffer.from(block.bytes).equals(Buffer.from(target.blocks[index]!.bytes)), block.idstr);
    }
  }
});
