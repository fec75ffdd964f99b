import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { pathToFileURL } from 'node:url';
import { MigrationError } from '@pageferry/core';
import { ChannelPool } from './channel-pool.ts';

const folder = mkdtempSync(join(tmpdir(), 'pageferry-pool-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Workers that end as their task says. */
const entry = join(folder, 'worker.mjs');
writeFileSync(
  entry,
  `export default function (task) {
    switch (task.how) {
      case 'end': return 'fine';
      case 'throw-plain': throw { code: 'bad-magic', message: 'said in the thread', channel: 'multifd 1', offset: 77 };
      case 'throw': throw new TypeError('a defect');
      case 'throw-later': setImmediate(() => { throw new RangeError('out of the blue'); }); return new Promise(() => {});
      case 'exit': setTimeout(() => process.exit(7), 20); return new Promise(() => {});
      case 'memory': { const keep = []; for (;;) keep.push(new Array(1e5).fill(keep.length)); }
      case 'busy': for (;;);
      default: return new Promise(() => {});
    }
  }`,
);

function pool(channels = 2): ChannelPool {
  return new ChannelPool(pathToFileURL(entry), channels);
}

async function failure(promise: Promise<unknown>): Promise<MigrationError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof MigrationError, String(error));
  return error;
}

for (const [how, found] of [
  ['throw', /a defect/],
  ['throw-later', /out of the blue/],
  ['exit', /7/],
] as const) {
  test(`a thread that dies (${how}) fails its channel by name, once`, async () => {
    const channels = pool();
    channels.run('multifd 0', { how: 'wait' });
    channels.run('multifd 1', { how });
    const waiting = failure(channels.until(() => false));
    const error = await failure(channels.failed);
    assert.equal(error.code, 'worker-failed');
    assert.equal(error.channel, 'multifd 1');
    assert.match(error.found ?? '', found);
    assert.equal(await waiting, error);
    channels.fail(new Error('a later one'));
    assert.equal(channels.error, error);
    await channels.abort(new Error('over'));
  });
}

test('a thread that runs out of memory fails its channel', async () => {
  // The limit is on the young generation only, so this takes what the machine gives a heap: keep it small.
  const channels = new ChannelPool(pathToFileURL(entry), 1, { maxOldGenerationSizeMb: 32 });
  channels.run('multifd 0', { how: 'memory' });
  const error = await failure(channels.failed);
  assert.equal(error.code, 'worker-failed');
  assert.match(error.found ?? '', /memory/i);
  await channels.abort(error);
});

test('a MigrationError keeps its fields on the way out of the thread', async () => {
  const channels = pool(1);
  channels.run('multifd 1', { how: 'throw-plain' });
  const error = await failure(channels.failed);
  assert.equal(error.code, 'bad-magic');
  assert.equal(error.message, 'said in the thread');
  assert.equal(error.channel, 'multifd 1');
  assert.equal(error.offset, 77);
  await channels.abort(error);
});

test('a thread that does not listen is killed', async () => {
  const channels = pool(2);
  channels.run('multifd 0', { how: 'busy' });
  channels.run('multifd 1', { how: 'wait' });
  await new Promise((resolve) => setTimeout(resolve, 200));
  const start = performance.now();
  const reason = new MigrationError('cancelled', 'enough');
  await channels.abort(reason);
  // Within a second, and what a loaded host adds.
  assert.ok(performance.now() - start < 3000, `${performance.now() - start} ms`);
  assert.equal(await failure(channels.failed), reason);
  // A second time costs nothing and changes nothing.
  await channels.abort(new Error('again'));
  assert.equal(channels.error, reason);
});

test('a pool whose tasks end well finishes', async () => {
  const channels = pool(2);
  const ended: number[] = [];
  channels.run('multifd 0', { how: 'end' }, [], () => ended.push(0));
  channels.run('multifd 1', { how: 'end' }, [], () => ended.push(1));
  await channels.until(() => ended.length === 2);
  await channels.finish(5000);
  assert.equal(channels.error, undefined);
});

test('a pool that was never used has nothing to end', async () => {
  const channels = pool();
  await channels.finish(1000);
  await channels.abort(new Error('over'));
});
