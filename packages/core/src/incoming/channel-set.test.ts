import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '../error.ts';
import { MemoryChannel } from '../testing/memory-channel.ts';
import type { AcceptedChannel, Listener } from '../transport/index.ts';
import { ChannelSet } from './channel-set.ts';

const UUID = Uint8Array.from({ length: 16 }, (_, i) => i);

function setUp(channels: number, options: { uuid?: Uint8Array; channelTimeoutMs?: number } = {}) {
  const queue: AcceptedChannel[] = [];
  let wake = Promise.withResolvers<void>();
  const listener: Listener = {
    address: 'test:',
    async accept() {
      while (queue.length === 0) await wake.promise;
      return queue.shift()!;
    },
    async close() {},
  };
  const add = (channel: AcceptedChannel) => {
    queue.push(channel);
    wake.resolve();
    wake = Promise.withResolvers<void>();
  };
  const adopted: number[] = [];
  const receiver = { adopt: async (channel: number) => void adopted.push(channel) } as never;
  const failure = Promise.withResolvers<MigrationError>();
  const wanted = { channels, channelTimeoutMs: 100, ...options };
  const set = new ChannelSet(listener, wanted, receiver, failure.resolve);
  const destroyed: number[] = [];
  return {
    set,
    adopted,
    destroyed,
    failure: failure.promise,
    main: () => add({ kind: 'main', channel: MemoryChannel.pair()[0] }),
    multifd: (channel: number, uuid = UUID) =>
      add({
        kind: 'multifd',
        channel,
        uuid,
        connection: { destroy: () => destroyed.push(channel) } as never,
      }),
    rejected: (error: MigrationError) => add({ kind: 'rejected', error }),
  };
}

test('channels come in any order', async () => {
  for (const order of ['m01', '10m', '0m1']) {
    const { set, main, multifd, adopted } = setUp(2);
    for (const name of order) {
      if (name === 'm') main();
      else multifd(Number(name));
    }
    await set.complete;
    assert.deepEqual(adopted.sort(), [0, 1]);
    assert.deepEqual(set.uuid, UUID);
    await set.close();
  }
});

for (const [name, ids, channels, code] of [
  ['an id twice', [1, 1], 2, 'duplicate-channel'],
  ['an id that is too high', [2], 2, 'bad-channel-id'],
  ['one channel too many', [0, 1, 2], 2, 'too-many-channels'],
  ['a channel without multifd', [0], 0, 'too-many-channels'],
] as const) {
  test(`${name}: ${code}`, async () => {
    const { set, multifd, failure, destroyed } = setUp(channels);
    for (const id of ids) multifd(id);
    const error = await failure;
    assert.equal(error.code, code);
    assert.equal(error.channel, `multifd ${ids.at(-1)}`);
    assert.equal(error.offset, 24);
    assert.deepEqual(destroyed, [ids.at(-1)]);
    await set.close();
  });
}

test('a UUID that is not the expected one, or not that of the other channels', async () => {
  const expected = setUp(1, { uuid: UUID });
  expected.multifd(0, new Uint8Array(16));
  assert.equal((await expected.failure).code, 'uuid-mismatch');
  const mixed = setUp(2);
  mixed.multifd(0);
  mixed.multifd(1, new Uint8Array(16));
  assert.equal((await mixed.failure).channel, 'multifd 1');
});

test('owed channels that do not come are named', async () => {
  const { multifd, failure } = setUp(3);
  multifd(1);
  const error = await failure;
  assert.equal(error.code, 'channel-timeout');
  assert.match(error.message, /main, multifd 0, multifd 2/);
});

test('a broken handshake says more than a missing channel; silence and late strangers do not matter', async () => {
  const broken = setUp(1);
  broken.main();
  broken.rejected(new MigrationError('bad-version', 'version 9', { channel: 'multifd 0', offset: 4 }));
  assert.equal((await broken.failure).code, 'bad-version');

  const fine = setUp(1);
  let failed = false;
  fine.failure.then(() => {
    failed = true;
  });
  fine.rejected(new MigrationError('truncated', 'a probe', { offset: 0 }));
  await delay(150);
  fine.main();
  fine.multifd(0);
  await fine.set.complete;
  fine.rejected(new MigrationError('bad-magic', 'a stranger', { offset: 0 }));
  await delay(120);
  assert.equal(failed, false);
  await fine.set.close();
});
