import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import test, { afterEach } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '@pageferry/core';
import { VcpuThrottle } from '@pageferry/core/guest';
import { encodeReturnPath } from '@pageferry/core/wire';
import { migrate, receive } from '@pageferry/workers';
import { deviceState, TestGuest, TestTarget } from '../packages/core/src/testing/test-guests.ts';

/** The guest is on exactly one side, whoever fails when. */

async function codeOf(result: Promise<unknown>): Promise<string> {
  return result.then(
    () => 'completed',
    (error: unknown) => (error instanceof MigrationError ? error.code : `${error}`),
  );
}

/** Peers that a test opened: a failed one must not leave anything that keeps the process alive. */
const opened: (() => void)[] = [];
afterEach(() => {
  for (const close of opened.splice(0)) close();
});

/** A destination of the test's own: `onData` sees the connection and everything that arrived so far. */
async function scripted(onData: (socket: Socket, bytes: Buffer) => void) {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const parts: Buffer[] = [];
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      parts.push(chunk);
      onData(socket, Buffer.concat(parts));
    });
    sockets.push(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  opened.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { uri: `tcp:127.0.0.1:${port}`, sockets };
}

const SHUT_0 = encodeReturnPath({ type: 'shut', value: 0 });
/** The stream ends with the JSON of the vmdescription. */
const isWhole = (bytes: Buffer) => bytes.subarray(-2).toString() === ']}';

test('SHUT 0 before everything was sent is not success', async () => {
  const peer = await scripted((socket, bytes) => {
    if (!isWhole(bytes)) socket.write(SHUT_0);
  });
  const guest = new TestGuest();
  const migration = migrate(guest, peer.uri, { maxBandwidthBytesPerSecond: 100_000 });
  assert.equal(await codeOf(migration.result), 'bad-return-path');
  assert.ok(guest.control.running);
});

test('cancel after the hand-over changes nothing: the source stays stopped', async () => {
  // A destination that says SHUT 0 and then keeps the connection open.
  const peer = await scripted((socket, bytes) => {
    if (isWhole(bytes)) socket.write(SHUT_0);
  });
  const guest = new TestGuest();
  const migration = migrate(guest, peer.uri, { stallTimeoutMs: 500 });
  while (peer.sockets.length === 0) await delay(2);
  // The source says that it is done only when the guest is no longer its own.
  await once(peer.sockets[0]!, 'end');
  migration.cancel();
  assert.equal(await codeOf(migration.result), 'completed');
  assert.ok(!guest.control.running);
});

/** Waits until everything is sent to the peer and cancels then; `answer` is what the peer does at the source's end. */
async function cancelAtTheEnd(answer: (socket: Socket) => void) {
  const whole = Promise.withResolvers<void>();
  const peer = await scripted((_, bytes) => {
    if (isWhole(bytes)) whole.resolve();
  });
  const guest = new TestGuest();
  const migration = migrate(guest, peer.uri);
  await whole.promise;
  const socket = peer.sockets[0]!;
  socket.once('end', () => answer(socket));
  const started = performance.now();
  migration.cancel();
  const code = await codeOf(migration.result);
  assert.ok(performance.now() - started < 900, `${performance.now() - started} ms`);
  return { guest, code, progress: await migration.query() };
}

test('a cancel just when the destination takes the guest over: the destination has it', async () => {
  const { guest, code, progress } = await cancelAtTheEnd((socket) => socket.end(SHUT_0));
  assert.equal(code, 'completed');
  assert.equal(progress.status, 'completed');
  assert.ok(!guest.control.running);
  assert.ok(!guest.calls.includes('activate'));
});

for (const [name, answer] of [
  ['gives up', (socket: Socket) => socket.end()],
  ['says nothing', () => {}],
] as const) {
  test(`a cancel with everything sent, and the destination ${name}: the source has the guest`, async () => {
    const { guest, code, progress } = await cancelAtTheEnd(answer);
    assert.equal(code, 'cancelled');
    assert.equal(progress.status, 'cancelled');
    assert.ok(guest.control.running);
    assert.deepEqual(guest.calls, ['inactivate', 'save', 'activate']);
  });
}

test('a cancel while the device state leaves: the rest of it is not sent', async () => {
  let bytes = 0;
  const peer = await scripted((socket, arrived) => {
    bytes = arrived.length;
    if (bytes > 2_000_000) socket.pause();
  });
  const guest = new TestGuest();
  const state = deviceState(20_000_000);
  guest.saveDeviceState = async () => state;
  const migration = migrate(guest, peer.uri);
  while (!peer.sockets[0]?.isPaused()) await delay(2);
  const socket = peer.sockets[0]!;
  const ended = Promise.race([once(socket, 'end'), once(socket, 'close')]);
  migration.cancel();
  await delay(100);
  socket.removeAllListeners('data');
  socket.on('data', (chunk) => {
    bytes += chunk.length;
  });
  socket.resume();
  assert.equal(await codeOf(migration.result), 'cancelled');
  assert.ok(guest.control.running);
  await ended;
  assert.ok(bytes < 20_000_000, `${bytes} bytes: the destination has everything, and may run the guest`);
});

/** A guest whose vCPU, the test, could be throttled. */
class ThrottledGuest extends TestGuest {
  readonly vcpus = VcpuThrottle.create(1);

  override get memory() {
    return { ...super.memory, throttle: this.vcpus.buffer };
  }
}

test('a coordinator that has to be killed leaves the guest running, and not throttled', async () => {
  const peer = await scripted(() => {});
  const guest = new ThrottledGuest();
  const { promise: never } = Promise.withResolvers<void>();
  guest.inactivate = () => never;
  const migration = migrate(guest, peer.uri, { autoConverge: true });
  while (migration.status !== 'device') await delay(2);
  guest.vcpus.percentage = 40;
  migration.cancel();
  assert.equal(await codeOf(migration.result), 'cancelled');
  assert.ok(guest.control.running);
  assert.equal(guest.vcpus.percentage, 0);
  assert.deepEqual(guest.calls, ['activate']);
});

test('a coordinator that has to be killed, and disks that cannot be taken back: the guest is not started', async () => {
  const peer = await scripted(() => {});
  const guest = new TestGuest();
  guest.inactivate = () => new Promise(() => {});
  guest.activate = async () => {
    throw new Error('the image is locked');
  };
  const migration = migrate(guest, peer.uri);
  while (migration.status !== 'device') await delay(2);
  migration.cancel();
  const error = await migration.result.catch((thrown: MigrationError) => thrown);
  assert.ok(error instanceof MigrationError);
  assert.equal(error.code, 'cancelled');
  assert.match(error.message, /the image is locked/);
  assert.equal((await migration.query()).status, 'cancelled');
  assert.ok(!guest.control.running);
});

for (const fails of [false, true]) {
  const end = fails ? 'and then do not come: it stays stopped' : 'the guest waits for them';
  test(`disks that come back more slowly than a coordinator may cancel: ${end}`, async () => {
    const peer = await scripted(() => {});
    const guest = new TestGuest();
    guest.activate = async () => {
      guest.calls.push('activate');
      await delay(1500);
      guest.calls.push(guest.control.running ? 'runs without its disks' : 'activated');
      if (fails) throw new Error('the image is locked');
    };
    const migration = migrate(guest, peer.uri);
    while (!guest.calls.includes('save')) await delay(2);
    migration.cancel();
    const error = await migration.result.catch((thrown: MigrationError) => thrown);
    assert.ok(error instanceof MigrationError);
    assert.equal(error.code, 'cancelled');
    assert.deepEqual(guest.calls, ['inactivate', 'save', 'activate', 'activated']);
    assert.equal(guest.control.running, !fails);
    if (fails) assert.match(error.message, /the image is locked/);
  });
}

test('disks are taken back only after they were given up', async () => {
  const peer = await scripted(() => {});
  const guest = new TestGuest();
  guest.inactivate = async () => {
    await delay(300);
    guest.calls.push('inactivate');
  };
  const migration = migrate(guest, peer.uri);
  while (migration.status !== 'device') await delay(2);
  migration.cancel();
  assert.equal(await codeOf(migration.result), 'cancelled');
  assert.deepEqual(guest.calls, ['inactivate', 'activate']);
  assert.ok(guest.control.running);
});

test('a source that gives up while the destination loads keeps the only guest', async () => {
  const target = new TestTarget();
  const loading = Promise.withResolvers<void>();
  target.load = () => {
    loading.resolve();
    return delay(1500);
  };
  const reception = receive('tcp:127.0.0.1:0', { guest: target });
  const guest = new TestGuest();
  const migration = migrate(guest, await reception.listening);
  await loading.promise;
  migration.cancel();
  assert.equal(await codeOf(migration.result), 'cancelled');
  assert.match(await codeOf(reception.result), /^(source-failed|connection-lost)$/);
  await delay(50);
  assert.ok(guest.control.running);
  assert.ok(target.discarded && !target.started);
});

test('a destination that takes longer to load than the stall limit is heard', async () => {
  const target = new TestTarget();
  target.load = () => delay(6500);
  const reception = receive('tcp:127.0.0.1:0', { guest: target });
  const guest = new TestGuest();
  const migration = migrate(guest, await reception.listening, { stallTimeoutMs: 5800 });
  assert.equal(await codeOf(migration.result), 'completed');
  assert.equal(await codeOf(reception.result), 'completed');
  assert.ok(target.started && !guest.control.running);
});

test('a wrong sync mode fails before the guest is loaded', async () => {
  const target = new TestTarget();
  const multifd = { multifd: true, multifdChannels: 2 };
  const options = { ...multifd, multifdFlushAfterEachSection: false, guest: target };
  const reception = receive('tcp:127.0.0.1:0', options);
  const guest = new TestGuest('pc-i440fx-7.2');
  const migration = migrate(guest, await reception.listening, multifd);
  assert.equal(await codeOf(reception.result), 'sync-mismatch');
  assert.notEqual(await codeOf(migration.result), 'completed');
  assert.ok(guest.control.running);
  assert.ok(target.state === undefined && !target.started && target.discarded);
});

test('a guest without a vmdescription arrives all the same', async () => {
  const target = new TestTarget();
  const reception = receive('tcp:127.0.0.1:0', { guest: target });
  const guest = new TestGuest();
  const { saveDeviceState } = guest;
  guest.saveDeviceState = async () => ({ ...(await saveDeviceState.call(guest)), vmdesc: undefined });
  assert.equal(await codeOf(migrate(guest, await reception.listening).result), 'completed');
  assert.equal(target.state?.sections[0]?.idstr, 'timer');
});

test('errors of the destination guest itself are its own', async () => {
  const target = new TestTarget();
  target.prepare = async () => {
    throw new Error('no room');
  };
  const reception = receive('tcp:127.0.0.1:0', { guest: target });
  const migration = migrate(new TestGuest(), await reception.listening);
  const error = await reception.result.catch((thrown: MigrationError) => thrown);
  assert.ok(error instanceof MigrationError);
  assert.equal(error.code, 'guest-failed');
  assert.equal(error.channel, 'main');
  assert.match(error.message, /no room.*at byte \d+ of main/);
  assert.equal(await codeOf(migration.result), 'destination-failed');
});
