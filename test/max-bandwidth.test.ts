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

test('what the link will carry at the switch-over can be said, and then counts', {
  timeout: 60_000,
}, async () => {
  const guest = new BusyGuest(32 * 2 ** 20);
  const reception = receive('tcp:127.0.0.1:0', { guest: new TestTarget() });
  const migration = migrate(guest, await reception.listening, {
    maxBandwidthBytesPerSecond: 20 * MB,
    downtimeLimitMs: 300,
  });
  const seen = async (fits: (progress: Progress) => boolean): Promise<Progress> => {
    for (;;) {
      const progress = await migration.query();
      assert.equal(progress.status, 'active');
      if (fits(progress)) return progress;
      await delay(20);
    }
  };
  try {
    while (migration.status !== 'active') await delay(5);
    assert.equal((await migration.query()).expectedDowntimeMs, 300, 'nothing else is known yet');
    // 32 MiB at 20 MB/s; on a loaded host it is less for a while.
    const { expectedDowntimeMs } = await seen((progress) => progress.expectedDowntimeMs !== 300);
    assert.ok(expectedDowntimeMs! > 1300, `${expectedDowntimeMs} ms`);
    // Slower than the limit: what is expected grows, and it goes on.
    await migration.setParameters({ availSwitchoverBandwidthBytesPerSecond: 2 * MB });
    const slow = await seen((progress) => progress.expectedDowntimeMs! > 10_000);
    assert.ok(slow.expectedDowntimeMs! < 18_000, `${slow.expectedDowntimeMs} ms`);
    // 200 MB/s carry all of it within 300 ms.
    await migration.setParameters({ availSwitchoverBandwidthBytesPerSecond: 200 * MB });
    assert.equal((await migration.result).status, 'completed');
    await reception.result;
  } finally {
    guest.close();
    migration.cancel();
    await migration.result.catch(() => {});
  }
});
