import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import { openDirtyLog } from '../../memory/dirty-log.ts';
import { TARGET_PAGE_BYTES } from '../../memory/ram-block.ts';
import { isZeroPage } from '../../memory/zero-page.ts';
import { machineThreads } from '../../testing/machine-threads.ts';
import type { GuestMemory, IncomingDescription } from '../contract.ts';
import { RunControl } from '../run-control.ts';
import { BuiltinMachine } from './machine.ts';
import { BuiltinMachineTarget, type BuiltinMachineTargetOptions } from './target.ts';

const MIB = 2 ** 20;

function describe(machine: BuiltinMachine): IncomingDescription {
  const configuration = { machine: machine.machine };
  return {
    configuration,
    blocks: machine.memory.blocks,
    ramSectionId: machine.ramSectionId,
    uuid: machine.uuid,
  };
}

/**
 * A migration without a wire: passes over the dirty pages while the guest runs, until so many pages are
 * copied, then stops it and copies the rest.
 */
async function precopy(from: GuestMemory, to: GuestMemory, pagesWhileRunning: number): Promise<void> {
  const log = openDirtyLog(from.dirtyLog, from.blocks);
  log.start();
  const dirty = from.blocks.map(
    ({ usedLengthBytes }) => new DirtyBitmap(usedLengthBytes / TARGET_PAGE_BYTES),
  );
  for (const bitmap of dirty) bitmap.setAll();
  const pages = new Uint32Array(128);
  let copied = 0;
  const copyDirty = (): void => {
    for (const [index, bitmap] of dirty.entries()) {
      log.sync(index, bitmap);
      log.clear(index, 0, bitmap.pageCount, bitmap);
      const source = new Uint8Array(from.blocks[index]!.buffer);
      const target = new Uint8Array(to.blocks[index]!.buffer);
      for (let next = 0; ; next = pages.at(-1)! + 1) {
        const taken = bitmap.takeRun(next, pages.length, pages);
        for (const page of pages.subarray(0, taken)) {
          const at = page * TARGET_PAGE_BYTES;
          if (isZeroPage(source, at)) target.fill(0, at, at + TARGET_PAGE_BYTES);
          else target.set(source.subarray(at, at + TARGET_PAGE_BYTES), at);
          copied++;
        }
        if (taken < pages.length) break;
      }
    }
  };
  while (copied < pagesWhileRunning) copyDirty();
  assert.equal(await new RunControl(from.runControl!).stop(), true);
  copyDirty();
  log.stop();
}

function assertSameRam(a: GuestMemory, b: GuestMemory): void {
  for (const [index, { idstr, buffer }] of a.blocks.entries()) {
    assert.equal(Buffer.compare(new Uint8Array(buffer), new Uint8Array(b.blocks[index]!.buffer)), 0, idstr);
  }
}

for (const workload of ['random', 'sequential', 'hot-cold'] as const) {
  test(`a machine that runs while it is copied loses no ${workload} write`, { timeout: 20_000 }, async () => {
    const memoryBytes = 24 * MIB;
    const options = { memoryBytes, vcpus: 2, dirtyRateBytesPerSecond: 512 * MIB, workload, verify: true };
    const machine = await BuiltinMachine.create(options);
    const target = new BuiltinMachineTarget({ memoryBytes, vcpus: 2 });
    try {
      await target.warmUp();
      machine.start();
      while (machine.writes < 1000) await delay(2);
      const memory = await target.prepare(describe(machine));
      const pageCount = memoryBytes / TARGET_PAGE_BYTES;
      // Every page that is copied while its vCPU writes is a chance to lose a write.
      await precopy(machine.memory, memory, 3 * pageCount);
      assertSameRam(machine.memory, memory);
      await target.load(await machine.saveDeviceState());
      assert.ok(machine.verifyMs > 0 && target.verifyMs > 0);
      await target.start();
      const arrived = target.machine;
      assert.equal(arrived.running(), true);
      while (arrived.writes < machine.writes + 1000) await delay(2);
      await arrived.stop();
      const report = await arrived.check();
      assert.deepEqual(report.problems, []);
      assert.equal(report.writes, arrived.writes);
      assert.equal((await machine.check()).ok, true, 'the source is whole as well');
    } finally {
      await Promise.all([machine.close(), target.discard()]);
    }
    assert.deepEqual(machineThreads(), []);
  });
}

/** Moves a stopped or running machine into a new target. */
async function move(
  machine: BuiltinMachine,
  options?: BuiltinMachineTargetOptions,
): Promise<BuiltinMachineTarget> {
  const target = new BuiltinMachineTarget(options);
  try {
    await precopy(machine.memory, await target.prepare(describe(machine)), 1000);
    await target.load(await machine.saveDeviceState());
    await target.start();
  } catch (error) {
    await target.discard();
    throw error;
  }
  return target;
}

test('a machine that has arrived can move on, paused or not', { timeout: 20_000 }, async () => {
  const uuid = Uint8Array.from({ length: 16 }, (_, i) => i);
  const options = { memoryBytes: 4 * MIB, vcpus: 2, dirtyRateBytesPerSecond: 64 * MIB, uuid };
  const first = await BuiltinMachine.create(options);
  const targets: BuiltinMachineTarget[] = [];
  try {
    first.start();
    // Its two vCPUs come where one was expected, then where none was known.
    targets.push(await move(first, { memoryBytes: 4 * MIB, uuid }));
    const second = targets[0]!.machine;
    assert.equal(second.running(), true);
    assert.deepEqual(second.uuid, uuid);
    while (second.writes < first.writes + 100) await delay(2);
    await second.stop();
    targets.push(await move(second));
    const third = targets[1]!.machine;
    assert.equal(third.running(), false);
    assert.equal(third.writes, second.writes);
    assert.deepEqual(third.uuid, uuid);
    assert.deepEqual(await third.check(), await second.check());
    third.start();
    while (third.writes < second.writes + 100) await delay(2);
    const report = await third.check();
    assert.deepEqual(report.problems, []);
  } finally {
    await Promise.all([first.close(), ...targets.map((target) => target.discard())]);
  }
  assert.deepEqual(machineThreads(), []);
});

test('RAM that is not the same is refused by the name of its block', async () => {
  const machine = await BuiltinMachine.create({ memoryBytes: 4 * MIB, verify: true });
  try {
    for (const [index, idstr] of ['builtin.ram', 'builtin.rom'].entries()) {
      const target = new BuiltinMachineTarget();
      const memory = await target.prepare(describe(machine));
      await precopy(machine.memory, memory, 0);
      new Uint8Array(memory.blocks[index]!.buffer)[40_000]! ^= 1;
      const state = await machine.saveDeviceState();
      await assert.rejects(target.load(state), { code: 'verify-failed', message: new RegExp(idstr) });
      assert.throws(() => target.machine, { code: 'guest-failed' });
      await assert.rejects(target.start(), { code: 'guest-failed' });
      await target.discard();
      await assert.rejects(target.load(state), { code: 'guest-failed' });
    }
  } finally {
    await machine.close();
  }
  assert.deepEqual(machineThreads(), []);
});

test('blocks are given in the order in which they are announced', async () => {
  const target = new BuiltinMachineTarget();
  const blocks = [
    { idstr: 'builtin.rom', usedLengthBytes: 65536 },
    { idstr: 'builtin.ram', usedLengthBytes: 4 * MIB },
  ];
  try {
    const memory = await target.prepare({ configuration: undefined, blocks, ramSectionId: 2 });
    assert.deepEqual(
      memory.blocks.map(({ idstr, usedLengthBytes }) => ({ idstr, usedLengthBytes })),
      blocks,
    );
    assert.deepEqual(structuredClone(memory).blocks.length, 2);
  } finally {
    await target.discard();
  }
});

test('another machine, or other memory, is refused', async () => {
  const ram = { idstr: 'builtin.ram', usedLengthBytes: 4 * MIB };
  const rom = { idstr: 'builtin.rom', usedLengthBytes: 65536 };
  const target = new BuiltinMachineTarget({ memoryBytes: 4 * MIB });
  const describeWith = (...blocks: IncomingDescription['blocks']): IncomingDescription => {
    return { configuration: { machine: 'pageferry-builtin-10.0' }, blocks, ramSectionId: 2 };
  };
  for (const blocks of [
    [ram],
    [ram, ram],
    [ram, rom, { idstr: 'vga.vram', usedLengthBytes: 4096 }],
    [ram, { ...rom, idstr: 'pc.rom' }],
    [ram, { ...rom, usedLengthBytes: 4096 }],
    [{ ...ram, usedLengthBytes: 8 * MIB }, rom],
  ]) {
    await assert.rejects(target.prepare(describeWith(...blocks)), { code: 'block-mismatch' });
  }
  const other = { ...describeWith(ram, rom), configuration: { machine: 'pc-i440fx-10.0' } };
  await assert.rejects(target.prepare(other), { code: 'bad-configuration' });
  const open = new BuiltinMachineTarget();
  const huge = describeWith({ ...ram, usedLengthBytes: 2 ** 60 }, rom);
  await assert.rejects(open.prepare(huge), { code: 'limit-exceeded' });
  const crooked = describeWith({ ...ram, usedLengthBytes: 4 * MIB + 1 }, rom);
  await assert.rejects(open.prepare(crooked), { code: 'block-mismatch' });
  assert.deepEqual(machineThreads(), []);
  assert.throws(() => new BuiltinMachineTarget({ memoryBytes: 4 * MIB, vcpus: 99 }), { code: 'bad-option' });
});

test('a discard at any time ends every thread', async () => {
  const description = {
    configuration: undefined,
    blocks: [
      { idstr: 'builtin.ram', usedLengthBytes: 4 * MIB },
      { idstr: 'builtin.rom', usedLengthBytes: 65536 },
    ],
    ramSectionId: 2,
  };
  for (const waitMs of [0, 5, 40]) {
    const target = new BuiltinMachineTarget({ memoryBytes: 4 * MIB, vcpus: 2 });
    const warm = target.warmUp().catch((error: unknown) => error);
    await delay(waitMs);
    await target.discard();
    await warm;
    assert.deepEqual(machineThreads(), []);
    await assert.rejects(target.prepare(description), { code: 'guest-failed' });
    await target.discard();
  }
});
