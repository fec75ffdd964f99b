import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import { MigrationError } from '@pageferry/core';
import { RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { type MemorySource, sourceOfBlocks } from './memory-source.ts';
import { cutPackets, evenOrder } from './sample.ts';
import { surveyMemory } from './survey.ts';

const RANGE_BYTES = 128 * TARGET_PAGE_BYTES;

/** Page `i` of each block is filled by `content(block, i)`; undefined leaves it zero. */
function memory(
  pages: readonly number[],
  content: (block: number, page: number) => Buffer | undefined,
): MemorySource {
  const blocks = pages.map((count, index) => {
    const block = RamBlock.allocate(`block ${index}`, count * TARGET_PAGE_BYTES);
    for (let page = 0; page < count; page++) {
      const bytes = content(index, page);
      if (bytes !== undefined) block.bytes.set(bytes, page * TARGET_PAGE_BYTES);
    }
    return block;
  });
  return sourceOfBlocks(blocks, 'capture', 'test');
}

/** A page that says where it is from. */
function labelled(block: number, page: number): Buffer {
  return Buffer.alloc(TARGET_PAGE_BYTES, `page ${page} of block ${block}. `);
}

function pagesOf(buffer: SharedArrayBuffer): string[] {
  const pages: string[] = [];
  for (let at = 0; at < buffer.byteLength; at += TARGET_PAGE_BYTES) {
    pages.push(/page \d+ of block \d+/.exec(Buffer.from(buffer, at, 40).toString())?.[0] ?? 'something else');
  }
  return pages;
}

test('zero pages are counted, the others are in the sample, each once', async () => {
  const source = memory([300, 5], (block, page) => (page % 3 === 0 ? undefined : labelled(block, page)));
  const survey = await surveyMemory(source, { sampleBytes: 2 ** 30 });
  assert.equal(survey.pages, 305);
  assert.equal(survey.scannedPages, 305);
  assert.equal(survey.zeroPages, 102);
  assert.equal(survey.sample.pageCount, 203);
  const pages = pagesOf(survey.sample.pages);
  assert.equal(new Set(pages).size, 203);
  assert.ok(!pages.includes('something else'));
});

test('regions tell where memory is zero and how well it compresses', async () => {
  const source = memory([384, 1], (block, page) => {
    if (block === 1) return labelled(block, page);
    if (page < 128) return undefined;
    return page < 256 ? randomBytes(TARGET_PAGE_BYTES) : labelled(block, page);
  });
  const { regions, incompressibleShare } = await surveyMemory(source, { sampleBytes: 2 ** 30 });
  assert.deepEqual(
    regions.map(({ block, offsetBytes, bytes, zeroShare }) => [block, offsetBytes, bytes, zeroShare]),
    [
      ['block 0', 0, RANGE_BYTES, 1],
      ['block 0', RANGE_BYTES, RANGE_BYTES, 0],
      ['block 0', 2 * RANGE_BYTES, RANGE_BYTES, 0],
      ['block 1', 0, TARGET_PAGE_BYTES, 0],
    ],
  );
  assert.equal(regions[0]!.ratio, undefined);
  assert.ok(regions[1]!.ratio! < 1.01);
  assert.ok(regions[2]!.ratio! > 10);
  assert.equal(incompressibleShare, 128 / 257);
});

test('of large memory a sample is taken, and only a part is read when asked', async () => {
  const pages = 128 * 2048;
  let readBytes = 0;
  const source: MemorySource = {
    kind: 'image',
    name: 'large',
    blocks: [{ name: 'large', bytes: pages * TARGET_PAGE_BYTES }],
    notes: [],
    async read(_block, offsetBytes, target) {
      readBytes += target.length;
      for (let at = 0; at < target.length; at += TARGET_PAGE_BYTES) {
        const page = (offsetBytes + at) / TARGET_PAGE_BYTES;
        target.fill(page % 2 === 0 ? 0 : 7, at, at + TARGET_PAGE_BYTES);
      }
    },
    async close() {},
  };
  const scanBytes = 512 * RANGE_BYTES * 2;
  const survey = await surveyMemory(source, { sampleBytes: 8 * RANGE_BYTES, scanBytes });
  assert.equal(survey.pages, pages);
  assert.equal(survey.scannedPages, scanBytes / TARGET_PAGE_BYTES);
  assert.equal(survey.zeroPages, pages / 2);
  assert.equal(survey.regions.length, 1024);
  assert.equal(survey.sample.pageCount, 8 * 128);
  assert.ok(readBytes < scanBytes + 9 * RANGE_BYTES, String(readBytes));
});

test('packets are cut where a migration cuts them', async () => {
  // Pages 0 to 299; the second 128 are zero but for three of them.
  const few = [130, 131, 250];
  const source = memory([300], (block, page) =>
    page < 128 || page >= 256 || few.includes(page) ? labelled(block, page) : undefined,
  );
  const { sample } = await surveyMemory(source, { sampleBytes: 2 ** 30 });
  const sizes = (packetPages: number) => {
    const packets = cutPackets(sample, packetPages);
    const found: number[] = [];
    for (let i = 0; i < packets.length; i += 2) {
      assert.equal(
        packets[i],
        found.reduce((sum, count) => sum + count, 0),
      );
      found.push(packets[i + 1]!);
    }
    return found;
  };
  assert.deepEqual(sizes(128), [128, 3, 44]);
  assert.deepEqual(sizes(64), [64, 64, 2, 1, 44]);
  assert.deepEqual(sizes(100), [100, 28, 2, 1, 44]);
  assert.equal(sizes(1).length, 175);
});

test('any beginning of the order is spread over all', () => {
  const order = evenOrder(1000);
  assert.deepEqual(
    order.toSorted((a, b) => a - b),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  for (const length of [10, 50, 200]) {
    const beginning = order.slice(0, length).toSorted((a, b) => a - b);
    const gaps = beginning.map((value, i) => value - (beginning[i - 1] ?? 0));
    assert.ok(Math.max(...gaps) <= 4 * (1000 / length), `${length}: ${Math.max(...gaps)}`);
  }
});

test('memory of zeros has nothing to measure, and a survey can be cancelled', async () => {
  const empty = memory([200], () => undefined);
  await assert.rejects(surveyMemory(empty, { sampleBytes: 1 }), (error) => {
    return error instanceof MigrationError && error.code === 'bad-file';
  });
  const full = memory([200], labelled);
  const signal = AbortSignal.abort();
  await assert.rejects(surveyMemory(full, { sampleBytes: 1, signal }), (error) => {
    return error instanceof MigrationError && error.code === 'cancelled';
  });
});
