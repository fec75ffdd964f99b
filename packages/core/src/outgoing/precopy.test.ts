import assert from 'node:assert/strict';
import test from 'node:test';
import { resolveMigrateOptions } from '../control/options.ts';
import type { SourceControl, SourceStream } from './parts.ts';
import { iterate } from './precopy.ts';

test('while full queues leave, the dirty log is read now and then only, and at once when they fit', async () => {
  const RATE_BYTES_PER_MS = 10_000;
  const start = performance.now();
  const queuedBytes = () => Math.max(0, 4_000_000 - (performance.now() - start) * RATE_BYTES_PER_MS);
  const syncs: number[] = [];
  const control = {
    live: resolveMigrateOptions(),
    signal: new AbortController().signal,
    stats: { measure() {}, synced: () => undefined },
    guest: { running: true },
    stopped: new Promise<never>(() => {}),
  };
  const parts = {
    flow: { pendingBytes: queuedBytes },
    // A guest that writes nothing: every page is in the queues.
    ram: { dirtyPages: 0, dirtySyncCount: 1, sync: () => syncs.push(queuedBytes()) && 0 },
    pacer: { thresholdBytes: 100_000, bytesPerMs: RATE_BYTES_PER_MS },
  };
  await iterate(control as unknown as SourceControl, parts as unknown as SourceStream);
  assert.ok(syncs.length >= 1 && syncs.length <= 10, `${syncs.length} passes in 400 ms`);
  assert.ok(syncs.at(-1)! <= 100_000, 'the last one finds that the guest can be stopped');
});
