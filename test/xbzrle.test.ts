import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { BuiltinMachine, BuiltinMachineTarget } from '@pageferry/core/guest';
import { migrate, receive } from '@pageferry/workers';
import { TemporaryFolder } from './lib/capture-files.ts';

const MIB = 2 ** 20;

const succeeds = (call: Promise<unknown>) =>
  call.then(
    () => true,
    () => false,
  );

/** tcp and unix leave from guest RAM, exec by buffers. */
for (const transport of ['tcp', 'unix', 'exec'] as const) {
  test(`xbzrle over ${transport}: no write is lost, also when the cache's size changes`, async () => {
    await using folder = await TemporaryFolder.create();
    const fifo = folder.file('fifo');
    if (transport === 'exec') execFileSync('mkfifo', [fifo]);
    const target = new BuiltinMachineTarget();
    const reception = receive(
      { tcp: 'tcp:127.0.0.1:0', unix: `unix:${folder.file('socket')}`, exec: `exec:cat ${fifo}` }[transport],
      { guest: target },
    );
    const address = await reception.listening;
    const machine = await BuiltinMachine.create({
      memoryBytes: 48 * MIB,
      dirtyRateBytesPerSecond: 40 * MIB,
      workload: 'hot-cold',
      workingSetBytes: 8 * MIB,
      verify: true,
    });
    try {
      machine.start();
      const migration = migrate(machine, transport === 'exec' ? `exec:cat > ${fifo}` : address, {
        xbzrle: true,
        xbzrleCacheSizeBytes: 16 * MIB,
        maxBandwidthBytesPerSecond: 30 * MIB,
        downtimeLimitMs: 1,
        progressIntervalMs: 10,
        signal: AbortSignal.timeout(120_000),
      });
      let cacheSize = 16 * MIB;
      for await (const { ram } of migration.progress) {
        const syncs = ram['dirty-sync-count'];
        if (syncs < 4) continue;
        // On a busy machine the guest may write so little that it is over by now.
        if (cacheSize > 2 * MIB) {
          const changed = migration.setParameters({ xbzrleCacheSizeBytes: 2 * MIB });
          if (await succeeds(changed)) cacheSize = 2 * MIB;
        }
        if (syncs < 7) continue;
        await succeeds(migration.setParameters({ maxBandwidthBytesPerSecond: 0, downtimeLimitMs: 2000 }));
      }
      await migration.result;
      await reception.result;
      const { xbzrleCache } = await migration.query();
      assert.ok(xbzrleCache && xbzrleCache.pages > 100 && xbzrleCache.bytes > 1000);
      assert.equal(xbzrleCache.cacheSize, cacheSize);
      assert.deepEqual((await target.machine.check()).problems, []);
      await target.machine.close();
    } finally {
      await machine.close();
    }
  });
}
