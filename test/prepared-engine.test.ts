import assert from 'node:assert/strict';
import test from 'node:test';
import { type EngineOptions, migrate, prepareEngine, receive } from '@pageferry/workers';
import { assertThreadsGone, threads } from '../packages/core/src/testing/leftovers.ts';
import { TestGuest, TestTarget } from '../packages/core/src/testing/test-guests.ts';

/** Engines whose threads were started before the migration. */

const ZSTD = { multifd: true, multifdChannels: 3, multifdCompression: 'zstd' } as const;

for (const [name, options] of [
  ['plain', {}],
  ['multifd zstd', ZSTD],
] as const) {
  test(`${name}: a migration in prepared engines starts no thread and leaves none`, async () => {
    const before = threads();
    const source = prepareEngine({ ...options, direction: 'outgoing' });
    const destination = prepareEngine({ ...options, direction: 'incoming' });
    await Promise.all([source.ready, destination.ready]);
    const prepared = threads();
    const guest = new TestGuest();
    const target = new TestTarget();
    const reception = receive('tcp:127.0.0.1:0', { ...options, guest: target, engine: destination });
    const uri = await reception.listening;
    const migration = migrate(guest, uri, { ...options, engine: source });
    let most = 0;
    for await (const _ of migration.progress) most = Math.max(most, threads());
    assert.ok(most <= prepared, `${most} threads, ${prepared} before`);
    assert.equal((await migration.result).status, 'completed');
    assert.equal((await reception.result).status, 'completed');
    for (const [index, block] of guest.blocks.entries()) {
      assert.ok(Buffer.from(block.bytes).equals(Buffer.from(target.blocks[index]!.bytes)));
    }
    await assertThreadsGone(before, 'after the migration');
  });
}

test('an engine serves the settings that it was prepared for, and one migration', async () => {
  const options: EngineOptions = { ...ZSTD, direction: 'outgoing' };
  const engine = prepareEngine(options);
  await engine.ready;
  const guest = new TestGuest();
  const nobody = 'tcp:127.0.0.1:1';
  const refused = [
    { ...ZSTD, multifdChannels: 2 },
    { ...ZSTD, multifdCompression: 'zlib' },
    { ...ZSTD, multifdBackend: 'minizlib' },
    {},
  ] as const;
  for (const other of refused) {
    assert.throws(() => migrate(guest, nobody, { ...other, engine }), { code: 'bad-option' });
  }
  assert.throws(() => receive('tcp:127.0.0.1:0', { ...ZSTD, guest: new TestTarget(), engine }), {
    code: 'bad-option',
    found: 'incoming',
  });
  await assert.rejects(migrate(guest, nobody, { ...ZSTD, engine }).result, { code: 'connect-failed' });
  assert.throws(() => migrate(guest, nobody, { ...ZSTD, engine }), { code: 'bad-option' });
});

test('an engine that is not needed leaves no thread; one that cannot be made says so', async () => {
  const before = threads();
  const engine = prepareEngine({ ...ZSTD, direction: 'incoming' });
  await engine.ready;
  await engine.close();
  assert.throws(() => receive('tcp:127.0.0.1:0', { ...ZSTD, guest: new TestTarget(), engine }), {
    code: 'bad-option',
  });
  await prepareEngine({ direction: 'outgoing' }).close();
  await assertThreadsGone(before, 'after close');
  assert.throws(() => prepareEngine({ direction: 'outgoing', multifdChannels: 0 }), { code: 'bad-option' });
});
