import assert from 'node:assert/strict';
import test from 'node:test';
import type { DeviceState, IncomingDescription } from '../guest/contract.ts';
import { decodeRunState, encodeGlobalState } from '../wire/global-state.ts';
import { HeldTarget } from './held-target.ts';

const DESCRIPTION: IncomingDescription = {
  configuration: { machine: 'pc-q35-9.1' },
  blocks: [{ idstr: 'pc.ram', usedLengthBytes: 8 * 4096 }],
  ramSectionId: 3,
  uuid: Uint8Array.from({ length: 16 }, (_, i) => i + 1),
};

function deviceState(runState?: string): DeviceState {
  const timer = { sectionId: 0, idstr: 'timer', instanceId: 0, versionId: 2, data: new Uint8Array(24) };
  const data = runState === undefined ? new Uint8Array(0) : encodeGlobalState(runState);
  const state = { sectionId: 9, idstr: 'globalstate', instanceId: 0, versionId: 1, data };
  return { early: [], sections: runState === undefined ? [timer] : [timer, state] };
}

test('a guest that was taken in can be migrated on, in another run state', async () => {
  const target = new HeldTarget();
  assert.throws(() => target.machine, { code: 'guest-failed' });
  const memory = await target.prepare(DESCRIPTION);
  const [ram] = memory.blocks;
  new Uint8Array(ram!.buffer, ram!.byteOffset, ram!.usedLengthBytes).fill(7, 4096, 8192);
  await target.load(deviceState('running'));
  const { machine } = target;
  assert.equal(machine.machine, 'pc-q35-9.1');
  assert.deepEqual(machine.uuid, DESCRIPTION.uuid);
  assert.equal(machine.ramSectionId, 3);
  assert.equal(machine.memory.blocks[0]!.buffer, ram!.buffer);
  assert.equal(machine.runState, 'running');
  assert.deepEqual(await machine.saveDeviceState(), deviceState('running'));
  machine.runState = 'paused';
  const { sections } = await machine.saveDeviceState();
  assert.equal(decodeRunState(sections[1]!.data), 'paused');
  assert.deepEqual(sections[0], deviceState().sections[0]);
});

test('a guest without globalstate runs', async () => {
  const target = new HeldTarget();
  await target.prepare(DESCRIPTION);
  await target.load(deviceState());
  assert.equal(target.machine.runState, 'running');
});

test('shared memory that stayed at the source is missed when the guest is migrated on without it', async () => {
  const target = new HeldTarget();
  assert.equal((await target.prepare(DESCRIPTION)).partial, true);
  await target.load(deviceState(), ['pc.ram']);
  const [ram] = target.machine.memory.blocks;
  assert.deepEqual([ram!.shared, ram!.elsewhere], [true, true]);
});

test('another guest is refused, and one that failed is gone', async () => {
  const other = new HeldTarget({ uuid: new Uint8Array(16).fill(9) });
  await assert.rejects(other.prepare(DESCRIPTION), { code: 'uuid-mismatch' });
  const small = new HeldTarget({ maxRamBytes: 4096 });
  await assert.rejects(small.prepare(DESCRIPTION), { code: 'limit-exceeded' });
  const target = new HeldTarget();
  await target.prepare(DESCRIPTION);
  await target.discard();
  await assert.rejects(target.load(deviceState()), { code: 'guest-failed' });
});
