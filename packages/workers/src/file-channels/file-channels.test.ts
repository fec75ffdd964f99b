import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '@pageferry/core';
import { resolveMigrateOptions } from '@pageferry/core/control';
import { RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { parseUri } from '@pageferry/core/transport';
import {
  assertThreadsGone,
  folderWithoutLeftovers,
  rejection,
  threads,
} from '../../../core/src/testing/leftovers.ts';
import { RamFile, writingPool } from './ram-file.ts';

const folder = folderWithoutLeftovers('file-channels');
const never = new AbortController().signal;
// The threads of the thread pool come with the first calls and stay: they are not what is counted below.
await Promise.all(Array.from({ length: 16 }, () => stat(folder)));
const PLACE = { entryOffset: 0, bitmapOffset: 64, pagesOffset: 2 ** 20, endOffset: 2 ** 20 + 300 * 4096 };

function ramFile(name: string, channels = 2): RamFile {
  const options = resolveMigrateOptions({ mappedRam: true, multifd: true, multifdChannels: channels });
  return new RamFile(parseUri(`file:${join(folder, name)}`), options);
}

function touchedBlock(): RamBlock {
  const block = RamBlock.allocate('pc.ram', 300 * TARGET_PAGE_BYTES);
  for (let page = 0; page < 300; page++) block.bytes.fill(contentOf(page), page * 4096, page * 4096 + 10);
  return block;
}

const contentOf = (page: number) => 1 + (page % 250);
const pageNumbers = (first: number, count: number) =>
  Uint32Array.from({ length: count }, (_, i) => first + i);

for (const warm of [false, true]) {
  test(`pages, stream and bitmap make a file that has its name at the end${warm ? ', with warm threads' : ''}`, async () => {
    const before = threads();
    const name = warm ? 'warm' : 'cold';
    const file = ramFile(name);
    const pool = warm ? writingPool(2) : undefined;
    await pool?.ready({});
    const sender = file.createSender(true, pool);
    const channel = await file.connect(never);
    const block = touchedBlock();
    await sender.open([block.toMemory()], [PLACE]);
    channel.write(Buffer.from('head'));
    channel.skipTo(PLACE.endOffset);
    for (let page = 0; page < 300; page += 100) {
      while (!sender.submit(0, pageNumbers(page, 100), 100)) await sender.drained();
    }
    await sender.sync();
    assert.equal(
      sender.stats().reduce((sum, { normalPages }) => sum + normalPages, 0),
      300,
    );
    // In the next pass every third page has become zero.
    for (let page = 0; page < 300; page += 3) block.bytes.fill(0, page * 4096, page * 4096 + 4096);
    for (let page = 0; page < 300; page += 3) {
      while (!sender.submit(0, Uint32Array.of(page), 1)) await sender.drained();
    }
    channel.write(Buffer.from('tail'));
    assert.ok(!readdirSync(folder).includes(name));
    await sender.close();
    await channel.close();
    const withName = () => readdirSync(folder).filter((entry) => entry.includes(name));
    assert.deepEqual(withName(), [name]);
    const bytes = readFileSync(join(folder, name));
    assert.equal(bytes.subarray(0, 4).toString(), 'head');
    assert.equal(bytes.subarray(PLACE.endOffset).toString(), 'tail');
    assert.equal(channel.bytesWritten, 8);
    for (let page = 0; page < 300; page++) {
      const bit = (bytes[PLACE.bitmapOffset + (page >> 3)]! >> (page & 7)) & 1;
      assert.equal(bit, page % 3 === 0 ? 0 : 1, `bit of page ${page}`);
      assert.equal(bytes[PLACE.pagesOffset + page * 4096], contentOf(page), `content of page ${page}`);
    }
    await sender.abort(new Error('over'));
    assert.deepEqual(withName(), [name], 'what has its name stays');
    await assertThreadsGone(before, 'after the end');
  });
}

test('sleeping threads end at once when they are aborted, and the file is gone', async () => {
  const before = threads();
  const file = ramFile('aborted', 3);
  const sender = file.createSender(true, undefined);
  const channel = await file.connect(never);
  const block = touchedBlock();
  await sender.open([block.toMemory()], [PLACE]);
  assert.ok(sender.submit(0, pageNumbers(0, 100), 100));
  await sender.flushed();
  assert.equal(readdirSync(folder).filter((name) => name.startsWith('.aborted.')).length, 1);
  // By now they sleep.
  await delay(30);
  const startMs = performance.now();
  const error = new MigrationError('cancelled', 'no more');
  channel.destroy(error);
  await sender.abort(error);
  assert.ok(performance.now() - startMs < 400, `${performance.now() - startMs} ms`);
  assert.equal(await rejection(sender.failed), error);
  assert.equal(await rejection(channel.close()), error);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('aborted')),
    [],
  );
  await assertThreadsGone(before, 'after the abort');
});

test('a channel that is destroyed while it closes does not give the file its name', async () => {
  const file = ramFile('late');
  const channel = await file.connect(never);
  channel.write(Buffer.from('something'));
  const closing = channel.close();
  const error = new MigrationError('cancelled', 'too late');
  channel.destroy(error);
  assert.equal(await rejection(closing), error);
  await file.discard();
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('late')),
    [],
  );
});

test('aborted while the file is being created: nothing is left of it either', async () => {
  const file = ramFile('early');
  const sender = file.createSender(true, undefined);
  const abort = new AbortController();
  const connecting = rejection(file.connect(abort.signal));
  const error = new MigrationError('cancelled', 'at once');
  abort.abort(error);
  assert.equal(await connecting, error);
  await sender.abort(error);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('early')),
    [],
  );
});

test('a file that disappears under the threads is an error with its name', async () => {
  const file = ramFile('stolen');
  const sender = file.createSender(true, undefined);
  const channel = await file.connect(never);
  await file.discard();
  const error = await rejection(sender.open([touchedBlock().toMemory()], [PLACE]));
  assert.equal(error.code, 'file-failed');
  assert.match(error.message, /cannot open .*stolen: ENOENT/);
  channel.destroy(error);
  await sender.abort(error);
});

test('the main channel does not go back, and is not read', async () => {
  const file = ramFile('order');
  const channel = await file.connect(never);
  channel.write(Buffer.from('12345'));
  assert.equal(channel.position, 5);
  assert.throws(() => channel.skipTo(4), { code: 'internal' });
  assert.equal((await rejection(channel.read())).code, 'internal');
  channel.destroy(new MigrationError('cancelled', 'enough'));
  assert.equal((await rejection(channel.flushed())).code, 'cancelled');
  await file.discard();
});

test('what cannot hold such a file is refused', () => {
  const options = resolveMigrateOptions({ mappedRam: true });
  assert.throws(() => new RamFile(parseUri('tcp:127.0.0.1:1'), options), { code: 'bad-option' });
  assert.throws(() => new RamFile(parseUri('exec:cat'), options), { code: 'bad-option' });
  assert.throws(() => new RamFile(parseUri('file:x,offset=4096'), options), { code: 'unsupported' });
});
