import assert from 'node:assert/strict';
import { join } from 'node:path';
import { MigrationError } from '@pageferry/core';
import { openMemorySource } from '@pageferry/workers/measure';
import { Qemu } from './lib/qemu.ts';
import { qemuTest } from './lib/qemu-test.ts';

/** What QEMU's `dump-guest-memory` writes, read as `pageferry bench` does. */

for (const version of ['7.2', '10.0'] as const) {
  qemuTest(version, `QEMU ${version}: an ELF core dump holds the guest's memory`, async () => {
    await using qemu = await Qemu.start({ version });
    await qemu.waitForSerial('B');
    await qemu.stop();
    for (const paging of [false, true]) {
      const path = join(qemu.folder, `dump-${paging}`);
      await qemu.qmp.execute('dump-guest-memory', { paging, protocol: `file:${path}` });
      const source = await openMemorySource(path);
      assert.equal(source.kind, 'core-dump');
      let bytes = 0;
      for (const [index, block] of source.blocks.entries()) {
        const found = Buffer.alloc(block.bytes);
        await source.read(index, 0, found);
        const expected = await qemu.readMemory(Number(block.name), block.bytes);
        assert.ok(found.equals(expected), `${block.name} with paging ${paging}`);
        bytes += block.bytes;
      }
      await source.close();
      // 16 MiB of RAM, less the hole below 1 MiB; the ROM is memory too.
      assert.ok(bytes > 15 * 2 ** 20 && bytes <= 17 * 2 ** 20, `${bytes} bytes with paging ${paging}`);
    }
  });

  qemuTest(version, `QEMU ${version}: a compressed dump is refused by its name`, async () => {
    await using qemu = await Qemu.start({ version, paused: true });
    const path = join(qemu.folder, 'dump');
    const format = 'kdump-zlib';
    await qemu.qmp.execute('dump-guest-memory', { paging: false, protocol: `file:${path}`, format });
    await assert.rejects(openMemorySource(path), (error) => {
      assert.ok(error instanceof MigrationError);
      assert.equal(error.code, 'unsupported');
      assert.match(error.message, /makedumpfile|kdump/);
      return true;
    });
  });
}
