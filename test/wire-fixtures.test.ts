import assert from 'node:assert/strict';
import test from 'node:test';
import { MultifdDecoder, ReturnPathDecoder, StreamDecoder } from '@pageferry/core/wire';
import { applyFixture } from './lib/fixture-ram.ts';
import {
  assertRamMatches,
  type Fixture,
  listFixtures,
  readConnection,
  readImage,
  readMeta,
} from './lib/fixtures.ts';
import { encodeAgain } from './lib/reassemble.ts';
import {
  type Decoder,
  feedBytewise,
  feedRandomly,
  feedWhole,
  type Outcome,
  outcomeOf,
} from './lib/stream-feed.ts';

/**
 * Every recorded stream through the decoders: the same messages and errors however it is cut, exactly the
 * recorded RAM, and the same bytes when encoded again.
 */

/** The fixtures whose main stream is refused, by code and feature; all others are decoded to their end. */
const REFUSED: Readonly<Record<string, readonly [code: string, words: RegExp]>> = {
  block: ['unsupported', /block migration/],
  cancelled: ['truncated', /footer/],
  'dirty-bitmaps': ['unsupported', /dirty-bitmap/],
  postcopy: ['unsupported', /postcopy/],
  'postcopy-preempt': ['unsupported', /postcopy/],
  'postcopy-preempt-machine72': ['unsupported', /postcopy/],
  'postcopy-running': ['unsupported', /postcopy/],
};

const fixtures = listFixtures();

function refusal(fixture: Fixture) {
  return REFUSED[fixture.path.replace(/^.*\//, '')];
}

/** The main stream, or the file with its pages in between. */
function readMain(fixture: Fixture): Uint8Array {
  return readImage(fixture) ?? readConnection(fixture, 0);
}

function sameHoweverCut(bytes: Uint8Array, decoder: () => Decoder): Outcome {
  const whole = outcomeOf(decoder(), bytes, feedWhole);
  assert.deepEqual(outcomeOf(decoder(), bytes, feedBytewise), whole, 'one byte at a time');
  for (const seed of [1, 2]) {
    assert.deepEqual(outcomeOf(decoder(), bytes, feedRandomly(seed)), whole, `random cuts, seed ${seed}`);
  }
  return whole;
}

test('there are fixtures of both versions', () => {
  assert.equal(fixtures.filter(({ qemu }) => qemu === '7.2').length, 23);
  assert.equal(fixtures.filter(({ qemu }) => qemu === '10.0').length, 31);
});

for (const fixture of fixtures) {
  test(`${fixture.path}: the main stream, cut anyhow`, () => {
    const bytes = readMain(fixture);
    const { counts, error, offset } = sameHoweverCut(bytes, () => new StreamDecoder());
    const expected = refusal(fixture);
    if (expected !== undefined) {
      assert.equal(error?.code, expected[0]);
      assert.match(error.message, expected[1]);
      assert.match(error.message, /at byte \d+ of main/);
      assert.notEqual(counts.end, 1);
      return;
    }
    assert.equal(error, undefined);
    assert.equal(offset, bytes.length);
    const { records } = fixture;
    assert.equal(counts['ram-blocks'], 1);
    assert.equal(counts['ram-eos'], records.eos);
    assert.equal(counts['ram-zero'], records.zero);
    assert.equal(counts['ram-page'], records.page);
    assert.equal(counts['ram-xbzrle'], records.xbzrle);
    assert.equal(counts['ram-compressed-page'], records.compress);
    assert.equal(counts['ram-multifd-flush'], records.multifd_flush);
    assert.equal(counts['device-state'], 1);
    assert.equal(counts.end, 1);
  });
}

for (const fixture of fixtures) {
  for (const { conn, kind, d2s_bytes } of fixture.connections) {
    if (kind === 'multifd') {
      test(`${fixture.path}: multifd connection ${conn}, cut anyhow`, () => {
        const bytes = readConnection(fixture, conn);
        const { counts, error, offset } = sameHoweverCut(bytes, () => new MultifdDecoder(`multifd ${conn}`));
        assert.equal(error, undefined);
        assert.equal(offset, bytes.length);
        assert.equal(counts.handshake, 1);
        assert.ok(counts.packet! > 1);
      });
    }
    if (d2s_bytes > 0) {
      test(`${fixture.path}: return path, cut anyhow, and encoded again`, () => {
        const bytes = readConnection(fixture, conn, 'd2s');
        const { counts, error, offset } = sameHoweverCut(bytes, () => new ReturnPathDecoder());
        assert.equal(error, undefined);
        assert.equal(offset, bytes.length);
        assert.ok(counts.pong! >= 1);
        assert.deepEqual(encodeAgain.returnPath(bytes), Buffer.from(bytes));
      });
    }
  }
}

for (const fixture of fixtures.filter((entry) => refusal(entry) === undefined)) {
  test(`${fixture.path}: configuration and device sections are those of the recording`, () => {
    const decoder = new StreamDecoder();
    decoder.push(readMain(fixture));
    decoder.end();
    const { stream_summary: summary } = readMeta(fixture);
    let ended = false;
    for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
      if (message.type === 'configuration') {
        const { machine, uuid } = message.configuration;
        assert.equal(machine, summary.machine);
        assert.equal(uuid === undefined ? null : Buffer.from(uuid).toString('hex'), summary.uuid);
      }
      if (message.type === 'ram-blocks') {
        const sizes = message.blocks.map(({ idstr, usedLengthBytes }) => [idstr, usedLengthBytes]);
        assert.deepEqual(Object.fromEntries(sizes), summary.blocks);
      }
      if (message.type === 'device-state') {
        assert.ok(message.proven);
        const sizes = message.sections.map(({ idstr, data }) => [idstr, data.length]);
        assert.deepEqual(sizes, summary.device_sections);
      }
      ended = message.type === 'end';
    }
    assert.ok(ended);
  });
}

for (const fixture of fixtures) {
  const compressed = fixture.connections.some(({ compression }) => compression?.some((m) => m !== 'none'));
  if (refusal(fixture) !== undefined || compressed) continue;
  test(`${fixture.path}: the messages give the recorded RAM`, () => {
    const blocks = applyFixture(fixture);
    for (const [idstr, { in_stream }] of Object.entries(fixture.expected_ram)) {
      if (in_stream) assertRamMatches(fixture, idstr, blocks.get(idstr)!);
    }
    assert.equal(blocks.size, Object.keys(fixture.expected_ram).length);
  });
}

for (const fixture of fixtures) {
  if (refusal(fixture) !== undefined) continue;
  test(`${fixture.path}: encoded again, the bytes are the same`, () => {
    if (!fixture.path.includes('mapped-ram')) {
      const bytes = readMain(fixture);
      const again = encodeAgain.mainStream(bytes);
      const different = again.findIndex((byte, i) => byte !== bytes[i]);
      assert.equal(different, -1, `different at byte ${different}`);
      assert.equal(again.length, bytes.length);
    }
    for (const { conn, kind } of fixture.connections) {
      if (kind !== 'multifd') continue;
      encodeAgain.checkMultifd(readConnection(fixture, conn), fixture.qemu);
    }
  });
}
