import assert from 'node:assert/strict';
import test from 'node:test';
import { DirtyBitmap } from '../memory/dirty-bitmap.ts';
import { RamBlock } from '../memory/ram-block.ts';
import { BuiltinMachine } from './builtin/machine.ts';
import type { Guest } from './contract.ts';
import { DirtyRateMeter } from './dirty-rate.ts';
import { beginMoving } from './moving.ts';
import { VcpuThrottle } from './vcpu-throttle.ts';

const MIB = 2 ** 20;

test('all modes find the rate of a running machine', { timeout: 60_000 }, async () => {
  const machine = await BuiltinMachine.create({
    memoryBytes: 512 * MIB,
    vcpus: 2,
    dirtyRateBytesPerSecond: 20 * MIB,
    content: 'text',
  });
  try {
    const meter = new DirtyRateMeter(machine);
    assert.equal(meter.query().status, 'unstarted');
    await meter.measure({ calcTimeMs: 100 });
    assert.equal(meter.query().dirtyRate, 0, 'it does not run');
    machine.start();
    for (const mode of ['page-sampling', 'dirty-ring', 'dirty-bitmap'] as const) {
      const before = { writes: machine.writes, ms: performance.now() };
      const measured = meter.measure({
        calcTimeMs: 1000,
        mode,
        ...(mode === 'page-sampling' && { samplePages: 16_384 }),
      });
      assert.equal(meter.query().status, 'measuring');
      await assert.rejects(meter.measure({ calcTimeMs: 1000 }), { code: 'bad-option', message: /already/ });
      await measured;
      const seconds = (performance.now() - before.ms) / 1000;
      // A loaded host writes less than it is set to.
      const written = ((machine.writes - before.writes) * 4096) / MIB / seconds;
      const { status, dirtyRate, vcpuDirtyRate, calcTimeMs, startTimeMs } = meter.query();
      assert.deepEqual([status, calcTimeMs], ['measured', 1000]);
      assert.ok(Date.now() - startTimeMs >= 1000 && Date.now() - startTimeMs < 30_000);
      // 8192 samples of 131072 pages, of which some 320 change: within 20 % nearly always.
      const tolerance = mode === 'page-sampling' ? 0.3 : 0.15;
      assert.ok(
        Math.abs(dirtyRate! - written) < written * tolerance + 2,
        `${mode}: ${dirtyRate} for ${written} MiB/s`,
      );
      assert.equal(vcpuDirtyRate?.length, mode === 'dirty-ring' ? 2 : undefined);
      if (vcpuDirtyRate !== undefined) {
        assert.deepEqual(
          vcpuDirtyRate.map(({ id }) => id),
          [0, 1],
        );
        assert.ok(vcpuDirtyRate.every((each) => each.dirtyRate > written / 4));
      }
    }
  } finally {
    await machine.close();
  }
});

test('the dirty log of a guest that is being migrated keeps its marks', async () => {
  const block = RamBlock.allocate('pc.ram', MIB);
  const log = new DirtyBitmap(block.pageCount);
  const guest = {
    memory: {
      blocks: [block.toMemory()],
      dirtyLog: { kind: 'write-barrier' as const, bitmaps: [log.buffer] },
      throttle: VcpuThrottle.create(1).buffer,
    },
  };
  log.set(7);
  const moved = beginMoving(guest as unknown as Guest);
  await new DirtyRateMeter(guest).measure({ calcTimeMs: 50, mode: 'dirty-bitmap' });
  assert.ok(log.test(7));
  moved();
  await new DirtyRateMeter(guest).measure({ calcTimeMs: 50, mode: 'dirty-bitmap' });
  assert.ok(!log.test(7));
});

test('what cannot be is refused, and leaves the last result', async () => {
  const blocks = [RamBlock.allocate('pc.ram', MIB).toMemory()];
  const meter = new DirtyRateMeter({ memory: { blocks, dirtyLog: { kind: 'none' } } });
  for (const [options, message] of [
    [{ calcTimeMs: 49 }, /calc-time/],
    [{ calcTimeMs: 60_001 }, /calc-time/],
    [{ calcTimeMs: 100, samplePages: 127 }, /sample-pages/],
    [{ calcTimeMs: 100, samplePages: 500, mode: 'dirty-ring' }, /sample-pages does not go with/],
  ] as const) {
    await assert.rejects(meter.measure(options), { code: 'bad-option', message });
  }
  for (const mode of ['dirty-ring', 'dirty-bitmap'] as const) {
    await assert.rejects(meter.measure({ calcTimeMs: 100, mode }), { code: 'unsupported' });
  }
  assert.equal(meter.query().status, 'unstarted');
  const long = meter.measure({ calcTimeMs: 60_000 });
  meter.close();
  await long;
  assert.equal(meter.query().dirtyRate, 0);
});
