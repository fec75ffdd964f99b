import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import { isZeroPage } from '../../memory/zero-page.ts';
import { machineThreads } from '../../testing/machine-threads.ts';
import { beginMoving } from '../moving.ts';
import { RunControl } from '../run-control.ts';
import { CONTENT_MIXES } from './content.ts';
import { Hardware } from './hardware.ts';
import { BuiltinMachine } from './machine.ts';
import { MachineState } from './machine-state.ts';
import { type BuiltinMachineOptions, machineConfig, WORKLOADS } from './options.ts';

const MIB = 2 ** 20;

/** Runs `use` with a machine and closes it. */
async function withMachine(
  options: BuiltinMachineOptions,
  use: (machine: BuiltinMachine) => Promise<void>,
): Promise<void> {
  const machine = await BuiltinMachine.create(options);
  try {
    await use(machine);
  } finally {
    await machine.close();
  }
}

async function untilWrites(machine: BuiltinMachine, writes: number): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (machine.writes < writes) {
    assert.ok(Date.now() < deadline, `only ${machine.writes} of ${writes} writes`);
    await delay(5);
  }
}

for (const [index, content] of CONTENT_MIXES.entries()) {
  const workload = WORKLOADS[index % WORKLOADS.length]!;
  test(`${workload} writes over ${content} content leave the machine consistent`, async () => {
    const options = { memoryBytes: 4 * MIB, vcpus: 2, dirtyRateBytesPerSecond: 400 * MIB, workload, content };
    await withMachine(options, async (machine) => {
      assert.deepEqual(await machine.check(), { ok: true, pagesChecked: 1022, writes: 0, problems: [] });
      machine.start();
      await untilWrites(machine, 5000);
      await machine.stop();
      const report = await machine.check();
      assert.deepEqual(report.problems, []);
      assert.equal(report.ok, true);
      assert.ok(report.writes >= 5000);
    });
  });
}

test('every written page is marked, and no other', async () => {
  const options = { memoryBytes: 4 * MIB, dirtyRateBytesPerSecond: 40 * MIB, workingSetBytes: MIB } as const;
  await withMachine(options, async (machine) => {
    const { blocks, dirtyLog } = machine.memory;
    const before = blocks.map(({ buffer }) => Buffer.from(new Uint8Array(buffer)));
    machine.start();
    await untilWrites(machine, 300);
    await machine.stop();
    assert.equal(dirtyLog.kind, 'write-barrier');
    if (dirtyLog.kind !== 'write-barrier') return;
    for (const [index, { buffer, usedLengthBytes }] of blocks.entries()) {
      const log = new DirtyBitmap(usedLengthBytes / 4096, dirtyLog.bitmaps[index]);
      const now = Buffer.from(buffer);
      for (let page = 0; page < log.pageCount; page++) {
        const same = now.compare(
          before[index]!,
          page * 4096,
          page * 4096 + 4096,
          page * 4096,
          page * 4096 + 4096,
        );
        assert.equal(log.test(page), same !== 0, `page ${page} of block ${index}`);
      }
      assert.equal(index === 0, log.count() > 0);
    }
  });
});

test('the working set is all that is written, and zero content is zero until then', async () => {
  const options: BuiltinMachineOptions = {
    memoryBytes: 8 * MIB,
    vcpus: 2,
    dirtyRateBytesPerSecond: 400 * MIB,
    workload: 'sequential',
    workingSetBytes: 2 * MIB,
    content: 'zero',
    preallocate: true,
  };
  await withMachine(options, async (machine) => {
    const bytes = new Uint8Array(machine.memory.blocks[0]!.buffer);
    const dataPages = 2048 - 2;
    const isZero = (page: number): boolean => isZeroPage(bytes, page * 4096);
    for (let page = 0; page < dataPages; page++) assert.ok(isZero(page), `page ${page}`);
    machine.start();
    await untilWrites(machine, 3000);
    await machine.stop();
    const written = Array.from({ length: dataPages }, (_, page) => page).filter((page) => !isZero(page));
    const half = dataPages / 2;
    assert.ok(written.length > 256);
    assert.ok(written.every((page) => page % half < 256));
    assert.equal((await machine.check()).ok, true);
  });
});

test('a stop takes effect at once, at any rate', async () => {
  for (const dirtyRateBytesPerSecond of [0, 16 * MIB, 2 ** 40]) {
    await withMachine({ memoryBytes: 4 * MIB, vcpus: 2, dirtyRateBytesPerSecond }, async (machine) => {
      let fastest = Number.POSITIVE_INFINITY;
      for (let round = 0; round < 5; round++) {
        machine.start();
        assert.equal(machine.running(), true);
        await delay(5);
        const before = performance.now();
        await machine.stop();
        fastest = Math.min(fastest, performance.now() - before);
        assert.equal(machine.running(), false);
        const writes = machine.writes;
        await delay(2);
        assert.equal(machine.writes, writes, 'it wrote after the stop');
      }
      // The fastest, since other processes may keep the processors.
      assert.ok(fastest < 50, `${fastest} ms`);
      assert.equal((await machine.check()).ok, true);
    });
  }
});

test('the rate is about the one that was asked for', async () => {
  const dirtyRateBytesPerSecond = 8 * MIB;
  await withMachine({ memoryBytes: 8 * MIB, vcpus: 2, dirtyRateBytesPerSecond }, async (machine) => {
    const before = performance.now();
    machine.start();
    await delay(500);
    await machine.stop();
    const expected = (dirtyRateBytesPerSecond / 4096) * ((performance.now() - before) / 1000);
    assert.ok(machine.writes > 0 && machine.writes < expected * 3, `${machine.writes} of ${expected}`);
  });
  await withMachine({ memoryBytes: 4 * MIB }, async (machine) => {
    machine.start();
    await delay(20);
    assert.equal(machine.writes, 0);
  });
});

test('a check of a running machine lets it run on', async () => {
  await withMachine({ memoryBytes: 4 * MIB, dirtyRateBytesPerSecond: 40 * MIB }, async (machine) => {
    machine.start();
    const { ok, writes } = await machine.check();
    assert.equal(ok, true);
    assert.equal(machine.running(), true);
    await untilWrites(machine, writes + 10);
  });
});

test('a machine of 5 GiB writes and checks pages beyond 4 GiB', async () => {
  const options: BuiltinMachineOptions = {
    memoryBytes: 5 * 2 ** 30,
    vcpus: 2,
    dirtyRateBytesPerSecond: 40 * MIB,
    content: 'zero',
  };
  await withMachine(options, async (machine) => {
    machine.start();
    await untilWrites(machine, 1000);
    await machine.stop();
    const { dirtyLog } = machine.memory;
    assert.equal(dirtyLog.kind, 'write-barrier');
    if (dirtyLog.kind !== 'write-barrier') return;
    const log = new DirtyBitmap(options.memoryBytes / 4096, dirtyLog.bitmaps[0]);
    const page = log.nextSet(4.5 * 2 ** 18);
    assert.ok(page > 2 ** 20);
    const bytes = new Uint8Array(machine.memory.blocks[0]!.buffer, page * 4096, 4096);
    bytes[100]! ^= 1;
    const { pagesChecked, problems } = await machine.check();
    assert.equal(pagesChecked, 5 * 2 ** 18 - 1280);
    assert.equal(problems.length, 1);
    assert.match(problems[0]!, new RegExp(`^page ${page} `));
  });
});

test('options that cannot be are refused by name', async () => {
  const good = { memoryBytes: 4 * MIB };
  for (const [option, options] of [
    ['memoryBytes', { memoryBytes: 4 * MIB + 1 }],
    ['memoryBytes', { memoryBytes: MIB, vcpus: 8 }],
    ['vcpus', { ...good, vcpus: 0 }],
    ['vcpus', { ...good, vcpus: 65 }],
    ['dirtyRateBytesPerSecond', { ...good, dirtyRateBytesPerSecond: -1 }],
    ['workingSetBytes', { ...good, workingSetBytes: 8 * MIB }],
    ['workload', { ...good, workload: 'fast' as 'random' }],
    ['content', { ...good, content: 'video' as 'text' }],
    ['seed', { ...good, seed: 0.5 }],
    ['uuid', { ...good, uuid: new Uint8Array(15) }],
  ] as const) {
    const expected = { code: 'bad-option', message: new RegExp(option) };
    await assert.rejects(BuiltinMachine.create(options), expected);
  }
  assert.deepEqual(machineThreads(), []);
  await assert.rejects(BuiltinMachine.create({ memoryBytes: 2 ** 52 }), { code: 'limit-exceeded' });
});

test('close ends every thread, of a running machine too', async () => {
  const machine = await BuiltinMachine.create({
    memoryBytes: 4 * MIB,
    vcpus: 3,
    dirtyRateBytesPerSecond: 2 ** 40,
    verify: true,
  });
  machine.start();
  if (process.platform === 'linux') {
    assert.equal(machineThreads().filter((name) => name.startsWith('builtin-vcpu')).length, 3);
  }
  await machine.close();
  await machine.close();
  assert.deepEqual(machineThreads(), []);
  const closed = { code: 'guest-failed', message: /closed/ };
  assert.throws(() => machine.start(), closed);
  await assert.rejects(machine.check(), closed);
  await assert.rejects(machine.saveDeviceState(), closed);
});

test('a vCPU whose thread dies is not waited for, and the machine says so', async () => {
  const hardware = new Hardware(4 * MIB);
  try {
    const state = MachineState.create(2);
    const options = {
      memoryBytes: 4 * MIB,
      vcpus: 2,
      workload: 'sequential',
      dirtyRateBytesPerSecond: MIB,
    } as const;
    state.configure(machineConfig(options));
    await hardware.plugVcpus(state, 'none');
    // No vCPU can stand before its first page: the write throws.
    state.saveVcpu(1, { ...state.vcpu(1), cursor: -(2 ** 20) });
    hardware.run();
    await delay(100);
    const before = performance.now();
    await assert.rejects(hardware.halt(), { code: 'guest-failed', message: /vCPU 1 failed/ });
    assert.ok(performance.now() - before < 1000);
    assert.throws(() => hardware.run(), { code: 'guest-failed' });
  } finally {
    await hardware.end();
  }
  assert.deepEqual(machineThreads(), []);
});

test('device state is only given by a stopped machine', async () => {
  await withMachine({ memoryBytes: 4 * MIB }, async (machine) => {
    machine.start();
    await assert.rejects(machine.saveDeviceState(), { code: 'guest-failed' });
    // A migration stops it by the shared word, and what it was before is what travels.
    await new RunControl(machine.memory.runControl!).stop();
    const { sections } = await machine.saveDeviceState();
    assert.match(Buffer.from(sections.at(-1)!.data).toString('latin1'), /running/);
    assert.equal(machine.verifyMs, 0);
  });
});

test('a machine that is given up runs again only when it is taken back', async () => {
  await withMachine({ memoryBytes: 16 * MIB, dirtyRateBytesPerSecond: 20 * MIB }, async (machine) => {
    machine.start();
    await assert.rejects(machine.inactivate(), { code: 'guest-failed', message: /running/ });
    await machine.stop();
    await machine.inactivate();
    assert.throws(() => machine.start(), { code: 'bad-state', message: /given up to a destination/ });
    assert.ok(!machine.running());
    await machine.activate();
    const { writes } = machine;
    machine.start();
    await untilWrites(machine, writes + 10);
  });
});

test('blockers, newest first; none can be added while the machine moves', async () => {
  await withMachine({ memoryBytes: 4 * MIB }, async (machine) => {
    assert.deepEqual(machine.blockers(), []);
    const unblock = machine.addBlocker('the first');
    machine.addBlocker('the second')();
    machine.addBlocker('the third');
    assert.deepEqual(machine.blockers(), ['the third', 'the first']);
    assert.throws(() => beginMoving(machine), { code: 'blocked', message: 'the third' });
    unblock();
    assert.deepEqual(machine.blockers(), ['the third']);
  });
  await withMachine({ memoryBytes: 4 * MIB }, async (machine) => {
    const moved = beginMoving(machine);
    assert.throws(() => machine.addBlocker('too late'), { code: 'bad-state', message: /too late/ });
    moved();
    machine.addBlocker('in time');
  });
});
