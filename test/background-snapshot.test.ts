import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import test, { after } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { CapturedMachine, inspectCapture, loadCapture } from '@pageferry/core/capture';
import type { MigrateOptions, MigrationEvent } from '@pageferry/core/control';
import { BuiltinMachine, type BuiltinMachineOptions, BuiltinMachineTarget } from '@pageferry/core/guest';
import { StreamDecoder } from '@pageferry/core/wire';
import { migrate, receive } from '@pageferry/workers';
import { TestGuest } from '../packages/core/src/testing/test-guests.ts';
import { findFixture, readConnection } from './lib/fixtures.ts';

/** A snapshot of a machine that runs on and writes all of its RAM meanwhile. */

const MIB = 2 ** 20;
const RAM_BYTES = 16 * MIB;
/** More than the sockets and the slots for copies hold together. */
const LARGE_RAM_BYTES = 40 * MIB;
const allPages = (ramBytes: number) => (ramBytes + 65536) / 4096;

const folder = mkdtempSync(join(tmpdir(), 'pageferry-snapshot-'));
after(() => rmSync(folder, { recursive: true }));

async function runningMachine(t: test.TestContext, options: Partial<BuiltinMachineOptions> = {}) {
  const machine = await BuiltinMachine.create({
    memoryBytes: RAM_BYTES,
    vcpus: 2,
    dirtyRateBytesPerSecond: 120 * MIB,
    verify: true,
    ...options,
  });
  t.after(() => machine.close());
  machine.start();
  while (machine.writes < 2000) await delay(5);
  return machine;
}

/** Loads a snapshot into a machine of its own. */
async function load(t: test.TestContext, uri: string): Promise<BuiltinMachineTarget> {
  const target = new BuiltinMachineTarget({ vcpus: 2 });
  await receive(uri, { guest: target }).result;
  t.after(() => target.machine.close());
  return target;
}

async function untilWrites(machine: BuiltinMachine, more: number): Promise<void> {
  const goal = machine.writes + more;
  for (const deadline = Date.now() + 20_000; machine.writes < goal; await delay(5)) {
    assert.ok(Date.now() < deadline, 'the machine does not write');
  }
}

test('to a file: RAM as it was at one moment, while the machine runs on', async (t) => {
  const machine = await runningMachine(t);
  const path = join(folder, 'running');
  const events: MigrationEvent[] = [];
  const migration = migrate(machine, `file:${path}`, {
    backgroundSnapshot: true,
    onEvent: (event) => events.push(event),
  });
  const result = await migration.result;
  assert.ok(machine.running());
  await untilWrites(machine, 1000);
  assert.deepEqual((await machine.check()).problems, []);

  const said = events.map((event) => (event.event === 'MIGRATION' ? event.data.status : event.event));
  assert.deepEqual(said, ['setup', 'active', 'STOP', 'RESUME', 'completed']);
  // Every page once, none twice.
  assert.equal(result.ram.normal + result.ram.duplicate, allPages(RAM_BYTES));
  assert.equal(result.ram['dirty-sync-count'], 0);
  assert.ok(result.downtimeMs < result.totalTimeMs);
  assert.deepEqual(result.warnings, []);

  const { machine: copy, verifyMs } = await load(t, `file:${path}`);
  // The hashes of all RAM were taken while the machine stood still, and were compared with what was loaded.
  assert.ok(verifyMs > 0);
  assert.ok(copy.running(), 'it ran when the snapshot was taken');
  await untilWrites(copy, 100);
  assert.deepEqual((await copy.check()).problems, []);
  t.diagnostic(`stood still for ${result.downtimeMs} of ${result.totalTimeMs} ms`);
});

test('of a stopped machine: it stays stopped, and so does what is loaded', async (t) => {
  const machine = await runningMachine(t);
  await machine.stop();
  const { writes } = machine;
  const path = join(folder, 'stopped');
  const events: string[] = [];
  const onEvent = ({ event }: MigrationEvent) => events.push(event);
  await migrate(machine, `file:${path}`, { backgroundSnapshot: true, onEvent }).result;
  assert.ok(!machine.running());
  assert.ok(!events.includes('STOP') && !events.includes('RESUME'));
  const { machine: copy } = await load(t, `file:${path}`);
  assert.ok(!copy.running());
  assert.deepEqual({ ...(await copy.check()) }, { ok: true, pagesChecked: 4092, writes, problems: [] });
});

test('inspect and loadCapture read it, and it can be sent on', async (t) => {
  const machine = await runningMachine(t);
  const path = join(folder, 'captured');
  await migrate(machine, `file:${path}`, { backgroundSnapshot: true }).result;
  const report = await inspectCapture(path);
  assert.equal(report.damage, undefined);
  assert.equal(report.runState, 'running');
  assert.deepEqual(
    report.devices.map(({ idstr }) => idstr),
    ['builtin-cpu', 'builtin-cpu', 'builtin-workload', 'builtin-verify', 'globalstate'],
  );
  assert.deepEqual(report.configuration?.capabilities ?? [], []);
  const target = new BuiltinMachineTarget();
  const reception = receive('tcp:127.0.0.1:0', { guest: target });
  const guest = new CapturedMachine(await loadCapture(path));
  await Promise.all([migrate(guest, await reception.listening).result, reception.result]);
  t.after(() => target.machine.close());
  assert.deepEqual((await target.machine.check()).problems, []);
});

/** The kinds of messages of a stream, in order; what repeats itself (pages, parts) is told once. */
function shapeOf(stream: Uint8Array): string[] {
  const decoder = new StreamDecoder();
  decoder.push(stream);
  decoder.end();
  const kinds: string[] = [];
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
    const kind = /^ram-(page|zero)$/.test(message.type) ? 'pages' : message.type;
    if (kind !== kinds.at(-1)) kinds.push(kind);
  }
  return kinds
    .join(' ')
    .replace(/( section-part pages ram-eos section-footer)+/g, '$1')
    .split(' ');
}

test('its stream is built as those of QEMU', async (t) => {
  const machine = await runningMachine(t);
  const path = join(folder, 'shape');
  await migrate(machine, `file:${path}`, { backgroundSnapshot: true }).result;
  const ours = shapeOf(readFileSync(path));
  t.diagnostic(ours.join(' '));
  assert.ok(!ours.includes('section-end'));
  for (const version of ['7.2', '10.0']) {
    assert.deepEqual(ours, shapeOf(readConnection(findFixture(`${version}/background-snapshot`), 0)));
  }
});

/** A peer that takes nothing until it is told to, and then writes what comes into a file. */
async function slowPeer(t: test.TestContext) {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const connected = once(server, 'connection') as Promise<[Socket]>;
  const { port } = server.address() as { port: number };
  return { uri: `tcp:127.0.0.1:${port}`, connected };
}

test('to a peer that is slow: the vCPUs wait, can be stopped, and lose nothing', async (t) => {
  const machine = await runningMachine(t, { memoryBytes: LARGE_RAM_BYTES });
  const peer = await slowPeer(t);
  const { result } = migrate(machine, peer.uri, { backgroundSnapshot: true });
  const [socket] = await peer.connected;
  // What nobody takes fills the buffers on the way and the slots, and then the vCPUs stand.
  for (let seen = -1; seen !== machine.writes; await delay(300)) seen = machine.writes;
  const started = performance.now();
  await machine.stop();
  assert.ok(performance.now() - started < 2000);
  assert.deepEqual((await machine.check()).problems, []);
  machine.start();
  const path = join(folder, 'slow');
  await Promise.all([pipeline(socket, createWriteStream(path)), result]);
  const { ram, warnings } = await result;
  assert.equal(ram.normal + ram.duplicate, allPages(LARGE_RAM_BYTES));
  assert.match(warnings.join(), /no return path/);
  await untilWrites(machine, 1000);
  assert.deepEqual((await machine.check()).problems, []);
  const { machine: copy } = await load(t, `file:${path}`);
  assert.deepEqual((await copy.check()).problems, []);
});

test('to a destination that runs it at once: there are two machines then', async (t) => {
  const machine = await runningMachine(t);
  const target = new BuiltinMachineTarget();
  const reception = receive('tcp:127.0.0.1:0', { guest: target });
  const migration = migrate(machine, await reception.listening, { backgroundSnapshot: true });
  await Promise.all([migration.result, reception.result]);
  t.after(() => target.machine.close());
  assert.ok(machine.running());
  await untilWrites(target.machine, 100);
  assert.deepEqual((await target.machine.check()).problems, []);
});

for (const [how, code] of [
  ['is cancelled', 'cancelled'],
  ['loses its connection', 'connection-lost'],
] as const) {
  test(`a snapshot that ${how}: the machine runs on freely, and the next one is whole`, async (t) => {
    const machine = await runningMachine(t, { memoryBytes: LARGE_RAM_BYTES });
    const peer = await slowPeer(t);
    const migration = migrate(machine, peer.uri, { backgroundSnapshot: true });
    const [socket] = await peer.connected;
    for (let seen = -1; seen !== machine.writes; await delay(300)) seen = machine.writes;
    if (code === 'cancelled') migration.cancel();
    else socket.resetAndDestroy();
    await assert.rejects(migration.result, { code });
    socket.destroy();
    assert.equal(migration.status, code === 'cancelled' ? 'cancelled' : 'failed');
    await untilWrites(machine, 20_000);
    const path = join(folder, code);
    await migrate(machine, `file:${path}`, { backgroundSnapshot: true }).result;
    assert.deepEqual((await machine.check()).problems, []);
    const { machine: copy } = await load(t, `file:${path}`);
    assert.deepEqual((await copy.check()).problems, []);
  });
}

test('a migration can follow a snapshot, and be followed by one', async (t) => {
  const machine = await runningMachine(t);
  await migrate(machine, `file:${join(folder, 'before')}`, { backgroundSnapshot: true }).result;
  const target = new BuiltinMachineTarget({ vcpus: 2 });
  const reception = receive('tcp:127.0.0.1:0', { guest: target });
  await Promise.all([migrate(machine, await reception.listening).result, reception.result]);
  t.after(() => target.machine.close());
  const path = join(folder, 'after');
  await migrate(target.machine, `file:${path}`, { backgroundSnapshot: true }).result;
  assert.ok(target.machine.running());
  const { machine: copy } = await load(t, `file:${path}`);
  assert.deepEqual((await copy.check()).problems, []);
});

test('a guest without write tracking is refused by the name of the capability', async () => {
  const guest = new TestGuest();
  const migration = migrate(guest, `file:${join(folder, 'never')}`, { backgroundSnapshot: true });
  await assert.rejects(migration.result, { code: 'unsupported', message: /background-snapshot/ });
  assert.ok(guest.control.running);
});

for (const [options, name] of [
  [{ multifd: true }, 'multifd'],
  [{ returnPath: true }, 'return-path'],
  [{ pauseBeforeSwitchover: true }, 'pause-before-switchover'],
  [{ mappedRam: true }, 'mapped-ram'],
] as const satisfies readonly (readonly [MigrateOptions, string])[]) {
  test(`background-snapshot does not go with ${name}`, () => {
    assert.throws(
      () => migrate(new TestGuest(), 'file:never', { ...options, backgroundSnapshot: true }),
      (error: Error) => error.message.includes(name) && error.message.includes('background-snapshot'),
    );
  });
}
