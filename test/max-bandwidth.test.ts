import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { MigrateOptions, Progress } from '@pageferry/core/control';
import { type Migration, migrate, receive } from '@pageferry/workers';
import { BusyGuest } from '../packages/core/src/testing/busy-guest.ts';
import { TestTarget } from '../packages/core/src/testing/test-guests.ts';

/** `max-bandwidth` over all channels together, changed while the migration runs. (`bench/bandwidth.ts` goes faster.) */

const MB = 1_000_000;
const LIMITS = [10, 40, 5];
const WINDOW_MS = 1000;
/** What was not sent in a tenth of a second is made up for; that much again may be queued or be measured wrongly. */
const SAVED_UP_MS = 200;

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

/**
 * Looks at the rate, and at each channel's share of it, until both are as they should be: a host that is loaded may
 * carry less for a while, and make up for a part of it.
 */
async function untilKept(migration: Migration, limitBytesPerSecond: number, channels: number): Promise<void> {
  const seen: string[] = [];
  // One more packet of 512 KiB, or one less, is much of a low limit.
  const packet = 2 ** 19 / (WINDOW_MS / 1000) / limitBytesPerSecond;
  let before = await migration.query();
  for (let window = 0; window < 12; window++) {
    await delay(WINDOW_MS);
    const after = await migration.query();
    const share = bytesPerSecond(before, after) / limitBytesPerSecond;
    const sent = after.channels.map(({ bytes }, channel) => bytes - before.channels[channel]!.bytes);
    const total = sent.reduce((sum, bytes) => sum + bytes, 0);
    seen.push(`${share} of the limit, channels ${sent}`);
    assert.equal(sent.length, channels);
    assert.ok(share < 1 + SAVED_UP_MS / WINDOW_MS + packet, seen.at(-1));
    const isFair = sent.every((bytes) => bytes > (total * 0.6) / channels || total < channels * 8 * 2 ** 19);
    if (Math.abs(share - 1) < 0.05 + packet && isFair) return;
    before = after;
  }
  assert.fail(seen.join('\n'));
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
        await untilKept(migration, limit * MB, channels);
      }
    } finally {
      guest.close();
      migration.cancel();
      await migration.result.catch(() => {});
      await reception.result.catch(() => {});
    }
  });
}
