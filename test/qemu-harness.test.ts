import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import test from 'node:test';
import { QmpError } from '@pageferry/core/qmp';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { expectConsistentGuest, expectLiveGuest } from './lib/guest-alive.ts';
import { Qemu } from './lib/qemu.ts';
import { qemuTest } from './lib/qemu-test.ts';
import { checkTinyGuest, TINY_ROM, tinyGuestPage } from './lib/tiny-guest.ts';

const PAGE_BYTES = 4096;
const FIRST_PAGE = TINY_ROM.regionStart / PAGE_BYTES;
const LAST_PAGE = TINY_ROM.regionEnd / PAGE_BYTES - 1;

/** RAM of a tiny guest in its pass after `passes` complete ones, `position` pages into it. */
function tinyGuestMemory(passes: number, position: number): Buffer {
  const memory = Buffer.alloc(4 << 20);
  memory.writeUInt32LE(passes, TINY_ROM.passAddress);
  for (let page = FIRST_PAGE; page <= LAST_PAGE; page++) {
    memory.set(tinyGuestPage(page), page * PAGE_BYTES);
    memory[page * PAGE_BYTES] = passes + (page - FIRST_PAGE < position ? 1 : 0);
  }
  return memory;
}

test('the tiny guest checker takes every point of a pass, and counters that wrap', () => {
  for (const passes of [0, 3, 254, 255, 256, 511]) {
    for (const position of [0, 1, 200, LAST_PAGE - FIRST_PAGE + 1]) {
      assert.deepEqual(checkTinyGuest(tinyGuestMemory(passes, position)), { problems: [], passes, position });
    }
  }
});

const CORRUPTIONS: Record<string, { damage(memory: Buffer): void; problem: RegExp }> = {
  'an old page (its counter is one behind)': {
    damage: (memory) => memory.writeUInt8(6, (FIRST_PAGE + 10) * PAGE_BYTES),
    problem: /counter/,
  },
  'a page from the future': {
    damage: (memory) => memory.writeUInt8(8, LAST_PAGE * PAGE_BYTES),
    problem: /page 0x27f: counter 8 after 7 passes/,
  },
  'a lost PASS_ADDR page': {
    damage: (memory) => memory.writeUInt32LE(6, TINY_ROM.passAddress),
    problem: /after 6 passes/,
  },
  'one wrong byte in the region': {
    damage: (memory) => memory.writeUInt8(0x55, LAST_PAGE * PAGE_BYTES + 4095),
    problem: /page 0x27f: byte 4095/,
  },
  'two pages exchanged': {
    damage: (memory) => {
      const first = Buffer.from(memory.subarray(FIRST_PAGE * PAGE_BYTES).subarray(1, PAGE_BYTES));
      memory.copyWithin(
        FIRST_PAGE * PAGE_BYTES + 1,
        (FIRST_PAGE + 1) * PAGE_BYTES + 1,
        (FIRST_PAGE + 2) * PAGE_BYTES,
      );
      memory.set(first, (FIRST_PAGE + 1) * PAGE_BYTES + 1);
    },
    problem: /page 0x100: byte 1 /,
  },
  'a zeroed page': {
    damage: (memory) => memory.fill(0, (FIRST_PAGE + 2) * PAGE_BYTES, (FIRST_PAGE + 3) * PAGE_BYTES),
    problem: /page 0x102/,
  },
  'a page that landed outside the region': {
    damage: (memory) => memory.writeUInt8(1, TINY_ROM.regionEnd + 77),
    problem: /page 0x280 is not zero/,
  },
  'all zero': { damage: (memory) => memory.fill(0), problem: /page 0x101: byte 1 / },
};

for (const [name, { damage, problem }] of Object.entries(CORRUPTIONS)) {
  test(`the tiny guest checker finds: ${name}`, () => {
    const memory = tinyGuestMemory(7, 100);
    damage(memory);
    assert.match(checkTinyGuest(memory).problems.join('\n'), problem);
  });
}

for (const version of QEMU_VERSIONS) {
  qemuTest(version, `QEMU ${version} to itself: the running guest iterates, moves and lives on`, async () => {
    await using destination = await Qemu.start({ version, incoming: 'defer' });
    await using source = await Qemu.start({ version });
    await source.waitForMoreSerial(1);
    for (const qemu of [source, destination]) await qemu.setCapabilities({ events: true });
    const info = await source.migrateIterating(await destination.listen('tcp:127.0.0.1:0'));
    assert.ok(info.ram!['dirty-sync-count'] >= 3, 'the guest moved without iterating');
    await destination.qmp.waitForEvent('MIGRATION', ({ data }) => data?.status === 'completed');
    await expectLiveGuest(destination);
    await expectConsistentGuest(source);
  });

  qemuTest(version, `QEMU ${version}: the harness reports errors and leaves nothing behind`, async () => {
    await using qemu = await Qemu.start({ version, paused: true });
    await assert.rejects(qemu.qmp.execute('no-such-command'), (error) => {
      assert.ok(error instanceof QmpError);
      assert.equal(error.class, 'CommandNotFound');
      return true;
    });
    assert.deepEqual((await qemu.ramBlocks()).map(({ idstr }) => idstr).sort(), [
      'pc.bios',
      'pc.ram',
      'pc.rom',
    ]);
    await qemu.migrate('tcp:127.0.0.1:1');
    await assert.rejects(qemu.waitMigration(), /failed/);
    await assert.rejects(qemu.waitForMoreSerial(1, 100), /prints no more/);
    await assert.rejects(Qemu.start({ version, machine: 'no-such-machine' }), /did not start/);
    await qemu[Symbol.asyncDispose]();
    assert.throws(() => process.kill(qemu.pid, 0), { code: 'ESRCH' });
    assert.ok(!existsSync(qemu.folder));
  });
}
