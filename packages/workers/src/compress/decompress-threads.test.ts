import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { deflateSync } from 'node:zlib';
import { MigrationError } from '@pageferry/core';
import { RamBlock, ReceivedBitmap, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { threads } from '../../../core/src/testing/leftovers.ts';
import { createDecompressThreads } from './decompress-threads.ts';

const PAGES = 300;

async function open(context: TestContext, threadCount: number, checkErrors = true) {
  const block = RamBlock.allocate('pc.ram', PAGES * TARGET_PAGE_BYTES);
  const received = new ReceivedBitmap(PAGES);
  const threads = createDecompressThreads(threadCount);
  context.after(() => threads.end());
  await threads.open([{ ...block.toMemory(), received: received.buffer }], checkErrors);
  const page = (index: number) =>
    Buffer.from(block.bytes).subarray(index * TARGET_PAGE_BYTES, (index + 1) * TARGET_PAGE_BYTES);
  return { threads, received, page };
}

/** Random in its first half, and other than its neighbours. */
function content(page: number): Buffer {
  const bytes = Buffer.alloc(TARGET_PAGE_BYTES, page & 0xff);
  crypto.getRandomValues(bytes.subarray(0, TARGET_PAGE_BYTES / 2));
  return bytes;
}

test('threads that were ended before they began do not begin', async () => {
  const pool = createDecompressThreads(1);
  await pool.end(new MigrationError('cancelled', 'the migration was cancelled'));
  const before = threads();
  await assert.rejects(pool.open([], true), { code: 'cancelled' });
  assert.equal(threads(), before, 'a thread that nobody ends');
});

for (const threadCount of [1, 3]) {
  test(`${threadCount} threads put every page in its place`, async (context) => {
    const { threads, received, page } = await open(context, threadCount);
    const contents = Array.from({ length: PAGES }, (_, index) => content(index));
    for (const [index, bytes] of contents.entries()) {
      if (index === 7) continue;
      const stream = deflateSync(bytes, { level: index % 10 });
      while (!threads.add(0, index, stream, 0)) await threads.drained();
      assert.ok(threads.holds(0, index));
    }
    assert.ok(!threads.holds(0, 7) && !threads.holds(1, 0));
    await threads.finished();
    for (const [index, bytes] of contents.entries()) {
      assert.equal(threads.holds(0, index), false);
      assert.equal(received.has(index), index !== 7);
      if (index !== 7) assert.ok(page(index).equals(bytes), `page ${index}`);
    }
  });
}

const good = content(1);
const whole = deflateSync(good);
const FAULTS: Record<string, Uint8Array> = {
  'no bytes': Buffer.alloc(0),
  'bytes that are no zlib stream': Buffer.from('this is not a zlib stream'),
  'a stream that is cut': whole.subarray(0, -1),
  'a wrong checksum': Buffer.concat([whole.subarray(0, -1), Buffer.of(whole.at(-1)! ^ 1)]),
  'a page too short': deflateSync(good.subarray(1)),
  'a page too long': deflateSync(Buffer.alloc(TARGET_PAGE_BYTES + 1, 5)),
  'a page far too long': deflateSync(Buffer.alloc(TARGET_PAGE_BYTES * 1000)),
  'a byte behind the stream': Buffer.concat([whole, Buffer.of(0)]),
};

for (const [name, bytes] of Object.entries(FAULTS)) {
  test(`${name}: an error with its place, or a page that stays as it is`, async (context) => {
    const strict = await open(context, 1);
    strict.threads.add(0, 1, whole, 100);
    strict.threads.add(0, 2, bytes, 4321);
    const error = { code: 'bad-compressed-data', channel: 'main', offset: 4321 };
    await assert.rejects(strict.threads.finished(), error);
    await assert.rejects(strict.threads.failed, error);

    const lenient = await open(context, 1, false);
    for (const [index, stream] of [whole, bytes, whole].entries()) lenient.threads.add(0, index, stream, 0);
    await lenient.threads.finished();
    assert.ok(lenient.page(0).equals(good));
    assert.ok(lenient.page(1).every((byte) => byte === 0));
    assert.ok(lenient.page(2).equals(good));
    assert.deepEqual(
      [0, 1, 2].map((index) => lenient.received.has(index)),
      [true, false, true],
    );
  });
}
