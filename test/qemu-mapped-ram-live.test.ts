import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { type Capture, CapturedMachine } from '@pageferry/core/capture';
import type { MigrateOptions } from '@pageferry/core/control';
import type { Guest } from '@pageferry/core/guest';
import { DirtyBitmap } from '@pageferry/core/memory';
import { migrate } from '@pageferry/workers';
import { expectLiveGuest } from './lib/guest-alive.ts';
import { Qemu } from './lib/qemu.ts';
import { captureGuest } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';

/** A QEMU's guest, live from memory into a mapped-ram file, and out of it into another QEMU. */

const ONE_THREAD: MigrateOptions = { mappedRam: true };
const TWO_THREADS: MigrateOptions = { mappedRam: true, multifd: true, multifdChannels: 2 };

async function captureRunningGuest(): Promise<Capture & AsyncDisposable> {
  const source = await Qemu.start({ version: '10.0' });
  await source.waitForMoreSerial(1);
  const wiring = { transport: 'tcp', returnPath: true, compression: 'none', channels: 2 } as const;
  const capture = await captureGuest(source, wiring, 'mapped-ram');
  return { ...capture, [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() };
}

async function expectLoads(path: string, capabilities: Record<string, boolean>): Promise<void> {
  await using destination = await Qemu.start({ version: '10.0', incoming: 'defer' });
  await destination.setCapabilities({ ...capabilities, 'mapped-ram': true, events: true });
  await destination.listen(`file:${path}`);
  await destination.waitMigration();
  await expectLiveGuest(destination);
}

/**
 * The captured guest as one that runs: its RAM is wrong at first in every third page, zero where it has content
 * and the other way round, and is put right bit by bit while it moves.
 */
function wrongAtFirst(capture: Capture): Guest & { correct(pages: number): void; wrongPages: number } {
  const bitmaps = capture.memory.map((block) => new DirtyBitmap(block.pageCount));
  const wrong: { block: number; page: number; right: Uint8Array }[] = [];
  for (const [index, block] of capture.memory.entries()) {
    for (let page = 0; page < block.pageCount; page += 3) {
      const bytes = block.bytes.subarray(page * 4096, (page + 1) * 4096);
      const right = bytes.slice();
      bytes.fill(right.some((byte) => byte !== 0) ? 0 : 0xee);
      wrong.push({ block: index, page, right });
    }
  }
  const correct = (pages: number) => {
    for (const { block, page, right } of wrong.splice(0, pages)) {
      capture.memory[block]!.bytes.set(right, page * 4096);
      bitmaps[block]!.set(page);
    }
  };
  const machine = new CapturedMachine(capture);
  const { ramSectionId, uuid, earlySections } = machine;
  return {
    machine: machine.machine,
    ramSectionId,
    uuid,
    earlySections,
    memory: {
      blocks: machine.memory.blocks,
      dirtyLog: { kind: 'write-barrier', bitmaps: bitmaps.map(({ buffer }) => buffer) },
    },
    saveDeviceState: () => machine.saveDeviceState(),
    inactivate: async () => correct(Number.POSITIVE_INFINITY),
    activate: () => machine.activate(),
    correct,
    get wrongPages() {
      return wrong.length;
    },
  };
}

describe('a mapped-ram file as a live target, and QEMU 10.0', { concurrency: 2 }, () => {
  for (const [how, options] of [
    ['one thread', ONE_THREAD],
    ['two threads', TWO_THREADS],
  ] as const) {
    for (const multifd of [false, true]) {
      qemuTest('10.0', `written by ${how}, loaded ${multifd ? 'with' : 'without'} multifd`, async () => {
        await using capture = await captureRunningGuest();
        const path = `${capture.path}-live`;
        const result = await migrate(new CapturedMachine(capture), `file:${path}`, options).result;
        assert.equal(result.status, 'completed');
        await expectLoads(path, { multifd });
      });
    }

    qemuTest('10.0', `written by ${how} while the guest writes`, async () => {
      await using capture = await captureRunningGuest();
      const path = `${capture.path}-live`;
      const guest = wrongAtFirst(capture);
      const all = guest.wrongPages;
      const timer = setInterval(() => guest.correct(20), 5);
      const slow = { maxBandwidthBytesPerSecond: 6 * 2 ** 20, downtimeLimitMs: 1 };
      const result = await migrate(guest, `file:${path}`, { ...options, ...slow }).result;
      clearInterval(timer);
      assert.equal(guest.wrongPages, 0);
      assert.ok(all > 1000);
      assert.ok(result.ram['dirty-sync-count'] >= 3, `${result.ram['dirty-sync-count']} syncs`);
      await expectLoads(path, { multifd: true });
    });
  }
});
