import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { MigrateOptions, Progress } from '@pageferry/core/control';
import { migrate, receive } from '@pageferry/workers';
import { BusyGuest } from '../packages/core/src/testing/busy-guest.ts';
import { TestTarget } from '../packages/core/src/testing/test-guests.ts';

/** `max-bandwidth` over all channels together, changed while the migration runs. (`bench/bandwidth.ts` goes faster.) */

const MB = 1_000_000;
const LIMITS = [10, 40, 5];

const WAYS: [string, MigrateOptions, number][] = [
  ['plain', {}, 0],
  ['plain, an old machine', { multifdFlushAfterEachSection: true }, 0],
  ['multifd', { multifd: true }, 2],
  ['multifd, a sync at each section', { multifd: true, multifdFlushAfterEachSection: true }, 2],
  ['multifd, 4 channels', { multifd: true, multifdChannels: 4 }, 4],
  ['multifd zstd', { multifd: true, multifdCompression: 'zstd' }, 2],
];

function bytesPerSecond(from: Progress, to: Progress): number {
  return ((to.ram.transferred - from.ram.transferred) / (to.elapsedMs - from.elapsedMs)) * 1000;
}

for (const [name, options, channels] of WAYS) {
  test(`${name}: the limit is kept, whatever it is changed to`, { timeout: 60_000 }, async () => {
    const guest = new BusyGuest(64 * 2 ** 20);
    const reception = receive('tcp:127.0.0.1:0', { ...options, guest: new TestTarget() });
    reception.result.catch(() => {});
    const start = { maxBandwidthBytesPerSecond: MB, downtimeLimitMs: 0 };
    const migration = migrate(guest, await reception.listening, { ...options, ...start });
    try {
      while (migration.status !== 'active') await delay(5);
      for (const limit of LIMITS) {
        await migration.setParameters({ maxBandwidthBytesPerSecond: limit * MB });
        await delay(250);
        const before = await migration.query();
        await delay(1500);
        const after = await migration.query();
        const share = bytesPerSecond(before, after) / (limit * MB);
        // A packet of 512 KiB more or less is much of a low limit.
        const packet = 2 ** 19 / (1.5 * limit * MB);
        assert.ok(share < 1.05 + packet, `${share} of ${limit} MB/s`);
        // A host that is loaded may carry less.
        assert.ok(share > 0.7 - packet, `${share} of ${limit} MB/s`);
        const sent = after.channels.map(({ bytes }, channel) => bytes - before.channels[channel]!.bytes);
        assert.equal(sent.length, channels);
        const total = sent.reduce((sum, bytes) => sum + bytes, 0);
        if (limit === 40) {
          for (const bytes of sent) assert.ok(bytes / total > 0.5 / channels, `shares: ${sent}`);
        }
      }
    } finally {
      guest.close();
      migration.cancel();
      await migration.result.catch(() => {});
      await reception.result.catch(() => {});
    }
  });
}
