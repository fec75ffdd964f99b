import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationError } from '@pageferry/core';
import { ReturnPathDecoder } from '@pageferry/core/wire';
import { assertRamMatches, findFixture, listFixtures, readMeta } from './lib/fixtures.ts';
import { playFixture, receiveOptionsOf } from './lib/play-fixture.ts';

/**
 * Every recorded migration, played through real sockets into a destination: exactly the recorded RAM, or
 * the named refusal.
 */

/** Recordings of features that are not there yet: what they wait for, and how they are refused today. */
const WAITING: Readonly<Record<string, readonly [feature: string, code: string, words: RegExp]>> = {
  block: ['block migration', 'unsupported', /block/],
  compress: ['compress threads', 'unknown-flag', /capability compress/],
  'dirty-bitmaps': ['dirty-bitmap migration', 'unsupported', /dirty-bitmap/],
  'ignore-shared': ['capability x-ignore-shared', 'unsupported', /x-ignore-shared/],
  postcopy: ['postcopy', 'unsupported', /postcopy/],
  'postcopy-preempt': ['postcopy', 'unsupported', /postcopy/],
  'postcopy-preempt-machine72': ['postcopy', 'unsupported', /postcopy/],
  'postcopy-running': ['postcopy', 'unsupported', /postcopy/],
};

for (const fixture of listFixtures()) {
  if (fixture.connections.length === 0) continue;
  const name = fixture.path.replace(/^.*\//, '');
  const waiting = WAITING[name];
  if (waiting !== undefined) {
    const [feature, code, words] = waiting;
    test(`${fixture.path} is refused until there is ${feature}`, async () => {
      const { error, target } = await playFixture(fixture);
      assert.ok(error instanceof MigrationError, 'it was refused');
      assert.equal(error.code, code, error.message);
      assert.match(error.message, words);
      assert.ok(target.discarded && !target.started);
    });
    continue;
  }
  if (fixture.status_source === 'cancelled') {
    test(`${fixture.path}: a cancelled migration is a truncated stream`, async () => {
      const { error, target } = await playFixture(fixture);
      assert.ok(error instanceof MigrationError);
      assert.equal(error.code, 'truncated');
      assert.equal(error.channel, 'main');
      assert.equal(error.offset, fixture.connections[0]!.s2d_bytes);
      assert.ok(target.discarded && !target.started);
    });
    continue;
  }
  test(`${fixture.path} gives exactly the recorded RAM`, async () => {
    const { error, target, answers } = await playFixture(fixture);
    assert.equal(error, undefined);
    const meta = readMeta(fixture).stream_summary;
    assert.equal(target.blocks.length, Object.keys(meta.blocks).length);
    for (const block of target.blocks) assertRamMatches(fixture, block.idstr, block.bytes);
    const devices = [...target.state!.early, ...target.state!.sections];
    assert.deepEqual(
      devices.map(({ idstr, data }) => [idstr, data.length]),
      meta.device_sections,
    );
    assert.ok(target.started);
    const decoder = new ReturnPathDecoder();
    decoder.push(answers);
    const said = [];
    for (let message = decoder.next(); message !== undefined; message = decoder.next()) said.push(message);
    const hasReturnPath = (fixture.commands.OPEN_RETURN_PATH ?? 0) > 0;
    const expected = hasReturnPath
      ? [
          { type: 'pong', value: 1 },
          { type: 'shut', value: 0 },
        ]
      : [];
    assert.deepEqual(said, expected);
  });
}

for (const path of ['7.2/multifd-zstd', '10.0/multifd-zlib']) {
  test(`${path} with the main channel last`, async () => {
    const fixture = findFixture(path);
    const { error, target } = await playFixture(fixture, receiveOptionsOf(fixture), 'main-last');
    assert.equal(error, undefined);
    for (const block of target.blocks) assertRamMatches(fixture, block.idstr, block.bytes);
  });
}

test('a destination with another compression method refuses by name', async () => {
  const fixture = findFixture('10.0/multifd-zlib');
  const { error } = await playFixture(fixture, { ...receiveOptionsOf(fixture), multifdCompression: 'zstd' });
  assert.ok(error instanceof MigrationError);
  assert.equal(error.code, 'compression-mismatch');
  assert.match(error.channel ?? '', /^multifd \d$/);
});

test('more and fewer channels than the destination has', async () => {
  const fixture = findFixture('10.0/multifd-none');
  const many = await playFixture(fixture, { ...receiveOptionsOf(fixture), multifdChannels: 1 });
  assert.ok(many.error instanceof MigrationError);
  assert.ok(['too-many-channels', 'bad-channel-id'].includes(many.error.code), many.error.code);
  const options = { ...receiveOptionsOf(fixture), multifdChannels: 3, channelTimeoutMs: 300 };
  const few = await playFixture(fixture, options);
  assert.ok(few.error instanceof MigrationError);
  assert.equal(few.error.code, 'channel-timeout');
  assert.match(few.error.message, /multifd 2/);
  const off = await playFixture(fixture, {});
  assert.ok(off.error instanceof MigrationError);
  assert.equal(off.error.code, 'too-many-channels');
});
