import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { inspectCapture, loadCapture } from '@pageferry/core/capture';
import { migrate } from '@pageferry/workers';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { expectLiveGuest } from './lib/guest-alive.ts';
import { Qemu } from './lib/qemu.ts';
import { captureGuest, expectSameMemory } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';
import { RevivedGuest } from './lib/revived-guest.ts';

const CACHE_BYTES = 8 << 20;

for (const version of QEMU_VERSIONS) {
  const start = async () => {
    const source = await Qemu.start({ version });
    await source.waitForMoreSerial(1);
    await source.setCapabilities({ xbzrle: true });
    await source.setParameters({ 'xbzrle-cache-size': CACHE_BYTES });
    return source;
  };

  /** QEMU's own word that it sent changes, and not only looked for them. */
  const expectChanges = async (source: Qemu) => {
    const stats = (await source.qmp.execute('query-migrate'))['xbzrle-cache'];
    assert.ok(stats && stats.bytes > 0 && stats.pages > 100, JSON.stringify(stats));
  };

  qemuTest(version, `QEMU ${version}: xbzrle, received while it iterates`, async () => {
    for (const transport of ['tcp', 'exec'] as const) {
      await using source = await start();
      await captureGuest(source, { transport, returnPath: transport === 'tcp' }, 'mapped-ram');
      await expectChanges(source);
    }
  });

  qemuTest(version, `QEMU ${version}: a stream file with xbzrle is inspected and loaded`, async () => {
    await using source = await start();
    const path = join(source.folder, 'stream');
    await source.migrateIterating(`exec:cat > ${path}`);
    await expectChanges(source);
    const capture = await loadCapture(path);
    assert.ok(capture.stats.xbzrleRecords > 100, `${capture.stats.xbzrleRecords} records`);
    await expectSameMemory(capture, source);
    const { damage, ram } = await inspectCapture(path);
    assert.equal(damage, undefined);
    assert.equal(ram!.pages.xbzrleRecords, capture.stats.xbzrleRecords);
  });

  // A small cache has slots that several pages want; tcp leaves from guest RAM, exec by buffers.
  for (const [transport, cacheBytes] of [
    ['tcp', CACHE_BYTES],
    ['tcp', 1 << 20],
    ['exec', CACHE_BYTES],
  ] as const) {
    qemuTest(
      version,
      `QEMU ${version}: a guest that runs is sent with xbzrle over ${transport}, ${cacheBytes >> 20} MiB of cache`,
      async () => {
        await using first = await Qemu.start({ version });
        await first.waitForMoreSerial(1);
        const capture = await captureGuest(first, { transport: 'tcp', returnPath: true }, 'mapped-ram');
        await using destination = await Qemu.start({ version, incoming: 'defer', paused: true });
        const fifo = join(destination.folder, 'fifo');
        if (transport === 'exec') execFileSync('mkfifo', [fifo]);
        const listening = await destination.listen(
          transport === 'tcp' ? 'tcp:127.0.0.1:0' : `exec:cat ${fifo}`,
        );
        using guest = new RevivedGuest(capture, 10);
        const migration = migrate(guest, transport === 'tcp' ? listening : `exec:cat > ${fifo}`, {
          xbzrle: true,
          xbzrleCacheSizeBytes: cacheBytes,
          maxBandwidthBytesPerSecond: 4 << 20,
          downtimeLimitMs: 1,
          signal: AbortSignal.timeout(60_000),
          progressIntervalMs: 5,
        });
        for await (const { ram } of migration.progress) {
          if (ram['dirty-sync-count'] < 5) continue;
          // It may be over by now.
          const fast = { maxBandwidthBytesPerSecond: 0, downtimeLimitMs: 2000 };
          await migration.setParameters(fast).catch(() => {});
        }
        await migration.result;
        const { xbzrleCache } = await migration.query();
        assert.ok(xbzrleCache && xbzrleCache.bytes > 600, JSON.stringify(xbzrleCache));
        assert.equal(xbzrleCache.cacheSize, cacheBytes);
        assert.equal(xbzrleCache.overflow, 0);
        if (transport === 'tcp') await destination.waitMigration('completed');
        await expectSameMemory(capture, destination);
        await destination.cont();
        await expectLiveGuest(destination);
      },
    );
  }
}
