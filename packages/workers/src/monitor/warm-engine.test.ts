import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { EngineOptions } from '../engine/engine.ts';
import { WarmEngine } from './warm-engine.ts';

const PLAIN: EngineOptions = { direction: 'outgoing' };
const ZSTD: EngineOptions = { ...PLAIN, multifd: true, multifdChannels: 2, multifdCompression: 'zstd' };

async function untilReady(warm: WarmEngine): Promise<void> {
  while (!warm.isReady) await delay(20);
}

test('threads that are ready are for the migration that was expected last, once', async () => {
  const warm = new WarmEngine();
  warm.expect(PLAIN);
  assert.equal(warm.take(PLAIN), undefined, 'nobody waits for threads that are not ready');
  warm.expect(PLAIN);
  warm.expect(ZSTD);
  await untilReady(warm);
  const engine = warm.take(ZSTD);
  assert.notEqual(engine, undefined);
  assert.equal(warm.take(ZSTD), undefined);
  await engine!.close();
  await warm.close();
});

test('threads for other settings end', async () => {
  const warm = new WarmEngine();
  warm.expect(ZSTD);
  await untilReady(warm);
  assert.equal(warm.take(PLAIN), undefined);
  assert.equal(warm.isReady, false);
  warm.expect(ZSTD);
  await untilReady(warm);
  warm.expect(undefined);
  assert.equal(warm.isReady, false);
  await warm.close();
});

test('settings that cannot be are left to the migration to refuse', async () => {
  const warm = new WarmEngine();
  warm.expect({ ...ZSTD, mappedRam: true });
  await delay(1300);
  assert.equal(warm.isReady, false);
  await warm.close();
});
