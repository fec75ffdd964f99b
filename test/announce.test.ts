import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { ReceiveOptions } from '@pageferry/core/control';
import { announceFrame, BuiltinMachine, BuiltinMachineTarget, parseMac } from '@pageferry/core/guest';
import { migrate, openNetworkBackend, receive } from '@pageferry/workers';
import { FrameCatcher } from './lib/frame-catcher.ts';

/** A machine that has arrived is announced on the network of its new host. */

const MEMORY_BYTES = 4 * 2 ** 20;
const MAC = '52:54:00:ab:cd:ef';

/** Migrates a machine with a NIC; both sides' frames go to catchers of their own. */
async function move(t: test.TestContext, options: ReceiveOptions, mac?: string) {
  const source = await FrameCatcher.open();
  const destination = await FrameCatcher.open();
  const [near, far] = await Promise.all(
    [source, destination].map(({ port }) => openNetworkBackend(`udp:127.0.0.1:${port}`)),
  );
  const nic = mac === undefined ? undefined : { mac, backend: near };
  const machine = await BuiltinMachine.create({ memoryBytes: MEMORY_BYTES, ...(nic && { nic }) });
  machine.start();
  const target = new BuiltinMachineTarget({ network: far });
  const reception = receive('tcp:127.0.0.1:0', { ...options, guest: target });
  const migration = migrate(machine, await reception.listening);
  await Promise.all([migration.result, reception.result]);
  t.after(async () => {
    await Promise.all([machine.close(), target.machine.close()]);
    await Promise.all([source[Symbol.asyncDispose](), destination[Symbol.asyncDispose]()]);
    if (mac === undefined) await near?.close();
  });
  return { source, destination, machine, arrived: target.machine };
}

test('the destination announces by the MAC address that came with the machine', async (t) => {
  const { source, destination, arrived } = await move(t, {}, MAC);
  assert.equal(arrived.mac, MAC);
  assert.ok(arrived.running());
  await destination.caught(5);
  await delay(700);
  assert.equal(destination.frames.length, 5);
  const expected = Buffer.from(announceFrame(parseMac(MAC)));
  for (const { bytes } of destination.frames) assert.deepEqual(bytes, expected);
  // A frame can come late on a busy machine, and the next one then seems early; in all it is never early.
  const times = destination.frames.map(({ atMs }) => atMs);
  for (const [index, least] of [50, 200, 450, 800].entries()) {
    assert.ok(times[index + 1]! - times[0]! > least - 30, `${times.map((time) => time - times[0]!)}`);
  }
  assert.equal(source.frames.length, 0);
});

test('announce-rounds and the pauses are those of the destination', async (t) => {
  const options = { announceInitialMs: 5, announceMaxMs: 5, announceStepMs: 1, announceRounds: 3 };
  const { destination } = await move(t, options, MAC);
  await destination.caught(3);
  await delay(100);
  assert.equal(destination.frames.length, 3);
});

test('announceRounds 0, or no NIC: nothing is sent', async (t) => {
  const silent = await move(t, { announceRounds: 0 }, MAC);
  const without = await move(t, {});
  assert.equal(without.arrived.mac, undefined);
  await delay(150);
  assert.deepEqual([silent.destination.frames, without.destination.frames], [[], []]);
});

test('announceSelf sends when it is told to, on the NICs that are named', async (t) => {
  const { source, machine } = await move(t, { announceRounds: 0 }, MAC);
  const parameters = { initialMs: 1, maxMs: 1, rounds: 2, stepMs: 1 };
  machine.announceSelf(parameters, { interfaces: ['other'] });
  machine.announceSelf(parameters, { interfaces: ['net0'], id: 'mine' });
  await source.caught(2);
  await delay(50);
  assert.equal(source.frames.length, 2);
  assert.throws(() => machine.announceSelf({ ...parameters, rounds: -1 }), { code: 'bad-option' });
});

test('parameters out of range are refused', () => {
  const guest = new BuiltinMachineTarget();
  for (const wrong of [{ announceStepMs: 0 }, { announceRounds: 1001 }, { announceInitialMs: 100_001 }]) {
    assert.throws(() => receive('tcp:127.0.0.1:0', { guest, ...wrong }), { code: 'bad-option' });
  }
});
