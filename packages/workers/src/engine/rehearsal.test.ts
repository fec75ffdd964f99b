import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationError } from '@pageferry/core';
import { receivingPool } from '../channels/receiver.ts';
import { sendingPool } from '../channels/sender.ts';
import { loadSystemCalls } from '../system/system-calls.ts';
import type { Preparation } from './protocol.ts';
import { rehearse } from './rehearsal.ts';
import { rehearseReceiving, rehearseSending } from './rehearse-channels.ts';

/** A prepared engine does not mind a rehearsal that fails; so nobody but these would see it. */

const skip = (await loadSystemCalls()) === undefined ? 'no system calls on this platform' : false;

test('a migration within a thread comes to its end', () => rehearse());

for (const [direction, compression] of [
  ['incoming', 'none'],
  ['outgoing', 'none'],
  ['outgoing', 'zstd'],
  ['outgoing', 'adaptive'],
] as const) {
  test(`${direction} ${compression}: channels are rehearsed and ready again`, { skip }, async () => {
    const backend = undefined;
    const preparation: Preparation = {
      direction,
      channels: 2,
      mappedRam: false,
      compression,
      level: 1,
      backend,
    };
    const pool = direction === 'incoming' ? receivingPool(2) : sendingPool(2);
    await pool.ready({ compression, level: 1, backend });
    const run = direction === 'incoming' ? rehearseReceiving : rehearseSending;
    await run(pool, preparation);
    assert.equal(pool.error, undefined);
    assert.equal(pool.words.cancelled, false);
    // The threads are still there and have nothing to do.
    await pool.ready({ compression, level: 1, backend });
    await pool.abort(new MigrationError('cancelled', 'done'));
  });
}
