import assert from 'node:assert/strict';
import test from 'node:test';
import { resolveMigrateOptions } from '@pageferry/core/control';
import { RamBlock } from '@pageferry/core/memory';
import {
  decodeXbzrle,
  StreamDecoder,
  XBZRLE_OVERFLOW,
  XBZRLE_PREFIX_BYTES,
  XbzrleEncoder,
} from '@pageferry/core/wire';
import { MainPages } from '../packages/core/src/outgoing/main-pages.ts';
import { RamIteration } from '../packages/core/src/outgoing/ram-iteration.ts';
import { XbzrlePages } from '../packages/core/src/outgoing/xbzrle-pages.ts';
import { MemoryChannel } from '../packages/core/src/testing/memory-channel.ts';
import { assertRamMatches, type Fixture, listFixtures, readConnection, readMeta } from './lib/fixtures.ts';

const PAGE_BYTES = 4096;

/** Gives QEMU's runs of each XBZRLE record, and the page before and after it. */
function replay(
  fixture: Fixture,
  visit: (runs: Uint8Array, before: Uint8Array, after: Uint8Array) => void,
): Map<string, Uint8Array> {
  const decoder = new StreamDecoder();
  decoder.push(readConnection(fixture, 0));
  decoder.end();
  const ram = new Map<string, Uint8Array>();
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
    if (message.type === 'ram-blocks') {
      for (const block of message.blocks) ram.set(block.idstr, new Uint8Array(block.usedLengthBytes));
    }
    if (message.type !== 'ram-page' && message.type !== 'ram-zero' && message.type !== 'ram-xbzrle') continue;
    const page = [...ram.values()][message.blockIndex]!.subarray(
      message.pageIndex * PAGE_BYTES,
      (message.pageIndex + 1) * PAGE_BYTES,
    );
    if (message.type === 'ram-page') page.set(message.data);
    if (message.type === 'ram-zero') page.fill(0);
    if (message.type !== 'ram-xbzrle') continue;
    const before = page.slice();
    assert.equal(decodeXbzrle(message.data, 0, message.data.length, page), -1);
    visit(message.data, before, page);
  }
  return ram;
}

for (const fixture of listFixtures().filter(({ path }) => path.endsWith('xbzrle'))) {
  test(`${fixture.path}: its pages encode to QEMU's bytes, and decode to the recorded RAM`, () => {
    const encoder = new XbzrleEncoder();
    let records = 0;
    const ram = replay(fixture, (runs, before, after) => {
      encoder.page.set(after);
      const length = encoder.encode(before, new Int32Array(before.buffer), 0);
      assert.notEqual(length, XBZRLE_OVERFLOW);
      const ours = encoder.record.subarray(XBZRLE_PREFIX_BYTES, XBZRLE_PREFIX_BYTES + length);
      assert.deepEqual(Buffer.from(ours), Buffer.from(runs), `record ${records}`);
      records++;
    });
    assert.equal(records, fixture.records.xbzrle);
    for (const idstr of Object.keys(fixture.expected_ram)) {
      assertRamMatches(fixture, idstr, ram.get(idstr)!);
    }
  });
}

/** Sends the pages that QEMU sent, in its order and with the content that they had, as a source with xbzrle does. */
async function sendAgain(fixture: Fixture) {
  const recorded = readConnection(fixture, 0);
  const decoder = new StreamDecoder();
  decoder.push(recorded);
  decoder.end();
  const [near, far] = MemoryChannel.pair();
  const theirs: Uint8Array[] = [];
  const ours: Uint8Array[] = [];
  const live = resolveMigrateOptions({
    xbzrle: true,
    xbzrleCacheSizeBytes: Number(fixture.parameters['xbzrle-cache-size']),
  });
  let blocks: RamBlock[] = [];
  let pages: XbzrlePages | undefined;
  let untilStart = 0;
  let offset = 0;
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
    const start = offset;
    offset = decoder.offset;
    if (message.type === 'ram-blocks') {
      blocks = message.blocks.map((block) => RamBlock.allocate(block.idstr, block.usedLengthBytes));
      const ram = new RamIteration({ blocks, dirtyLog: { kind: 'none' } });
      pages = new XbzrlePages(new MainPages(near, blocks), ram, live);
      untilStart = message.totalBytes / PAGE_BYTES;
    }
    if (message.type === 'section-end') pages!.lastStage = true;
    if (message.type !== 'ram-page' && message.type !== 'ram-zero' && message.type !== 'ram-xbzrle') continue;
    const { blockIndex, pageIndex } = message;
    const page = blocks[blockIndex]!.bytes.subarray(pageIndex * PAGE_BYTES, (pageIndex + 1) * PAGE_BYTES);
    if (message.type === 'ram-page') page.set(message.data);
    if (message.type === 'ram-zero') page.fill(0);
    if (message.type === 'ram-xbzrle') decodeXbzrle(message.data, 0, message.data.length, page);
    if (pages!.isZero(blockIndex, pageIndex)) pages!.addZero(blockIndex, pageIndex);
    else pages!.addPage(blockIndex, pageIndex);
    pages!.flush();
    ours.push((await far.read())!);
    theirs.push(recorded.subarray(start, offset));
    if (--untilStart === 0) pages!.start();
  }
  return { theirs, ours, stats: pages!.stats() };
}

for (const fixture of listFixtures().filter(({ path }) => path.endsWith('xbzrle'))) {
  test(`${fixture.path}: the same pages give the same records, and the same statistics`, async () => {
    const { theirs, ours, stats } = await sendAgain(fixture);
    assert.equal(ours.length, theirs.length);
    for (const [index, record] of theirs.entries()) {
      assert.ok(Buffer.from(record).equals(ours[index]!), `record ${index}: ${ours[index]!.subarray(0, 40)}`);
    }
    const {
      bytes,
      overflow,
      'cache-miss': cacheMiss,
    } = readMeta(fixture).query_migrate_source['xbzrle-cache']!;
    assert.deepEqual([stats.bytes, stats.overflow, stats.cacheMiss], [bytes, overflow, cacheMiss]);
    // QEMU's number has those that had not changed, too.
    assert.equal(stats.pages, fixture.records.xbzrle);
  });
}
