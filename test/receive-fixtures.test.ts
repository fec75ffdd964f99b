import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationError } from '@pageferry/core';
import { assertRamMatches, findFixture, listFixtures, readConnection, readMeta } from './lib/fixtures.ts';
import { playFixture, RecordingTarget, receiveOptionsOf } from './lib/play-fixture.ts';

/**
 * Every recorded migration, played through real sockets into a destination: exactly the recorded RAM, or
 * the named refusal.
 */

/** Recordings of features that are not there yet: what they wait for, and how they are refused today. */
const WAITING: Readonly<Record<string, readonly [feature: string, code: string, words: RegExp]>> = {
  block: ['block migration', 'unsupported', /block/],
  'dirty-bitmaps': ['dirty-bitmap migration', 'unsupported', /dirty-bitmap/],
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
      // The preempt channel may be looked at first.
      if (name.startsWith('postcopy-preempt') && error.code === 'bad-magic') return;
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
    const shared = Object.keys(fixture.expected_ram).filter((name) => !fixture.expected_ram[name]!.in_stream);
    assert.deepEqual(target.absent, shared);
    for (const block of target.blocks) {
      if (!shared.includes(block.idstr)) assertRamMatches(fixture, block.idstr, block.bytes);
    }
    const devices = [...target.state!.early, ...target.state!.sections];
    assert.deepEqual(
      devices.map(({ idstr, data }) => [idstr, data.length]),
      meta.device_sections,
    );
    assert.ok(target.started);
    // Byte for byte what the recorded destination said.
    const main = fixture.connections.find(({ kind }) => kind === 'main')!;
    assert.deepEqual(answers, Buffer.from(readConnection(fixture, main.conn, 'd2s')));
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
  // What comes first: the connection that nobody expects, or the main stream's word of a flush.
  assert.ok(['too-many-channels', 'sync-mismatch'].includes(off.error.code), off.error.code);
});

test('x-ignore-shared must be on at both sides or at neither', async () => {
  for (const [path, options, found] of [
    ['10.0/ignore-shared', {}, 'on at the source'],
    ['7.2/precopy', { ignoreShared: true }, 'off at the source'],
  ] as const) {
    const { error, target } = await playFixture(findFixture(path), options);
    assert.ok(error instanceof MigrationError);
    assert.equal(error.code, 'bad-configuration');
    assert.equal(error.found, found);
    assert.ok(target.discarded && !target.started);
  }
});

test('a block that the source shares and the destination does not is no block of zeros', async () => {
  const fixture = findFixture('10.0/ignore-shared');
  const target = new RecordingTarget({ partial: false });
  const { error } = await playFixture(fixture, receiveOptionsOf(fixture), 'recorded', target);
  assert.ok(error instanceof MigrationError);
  assert.equal(error.code, 'block-mismatch');
  assert.match(error.message, /no page of pc.ram/);
});

test('a block that is shared here takes no page, and must be at the same guest address', async () => {
  const fixture = findFixture('10.0/ignore-shared');
  const options = receiveOptionsOf(fixture);
  for (const [shared, code, words] of [
    [{ 'pc.ram': 0n }, undefined, /^$/],
    [
      { 'pc.ram': 4096n },
      'block-mismatch',
      /pc\.ram is at another guest address.* found 0x0, expected 0x1000/,
    ],
    [{ 'pc.ram': 0n, 'pc.rom': 0xc0000n }, 'bad-page', /pc\.rom, which is shared/],
  ] as const) {
    const target = new RecordingTarget({ partial: false, shared });
    const { error } = await playFixture(fixture, options, 'recorded', target);
    assert.equal((error as MigrationError | undefined)?.code, code);
    assert.match(String((error as Error | undefined)?.message ?? ''), words);
    if (code === undefined) assert.deepEqual(target.absent, []);
  }
});

test('the machine that is expected', async () => {
  const fixture = findFixture('7.2/precopy');
  // QEMU compares as much of its own name as the source sends.
  assert.equal((await playFixture(fixture, { machine: 'pc-i440fx-7.2.1' })).error, undefined);
  const { error } = await playFixture(fixture, { machine: 'pc-i440fx-7.1' });
  assert.ok(error instanceof MigrationError);
  assert.equal(error.code, 'bad-configuration');
  assert.match(error.message, /found pc-i440fx-7\.2, expected pc-i440fx-7\.1/);
});
