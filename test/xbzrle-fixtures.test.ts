import assert from 'node:assert/strict';
import test from 'node:test';
import {
  decodeXbzrle,
  StreamDecoder,
  XBZRLE_OVERFLOW,
  XBZRLE_PREFIX_BYTES,
  XbzrleEncoder,
} from '@pageferry/core/wire';
import { assertRamMatches, type Fixture, listFixtures, readConnection } from './lib/fixtures.ts';

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
