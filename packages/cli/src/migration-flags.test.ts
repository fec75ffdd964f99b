import assert from 'node:assert/strict';
import test from 'node:test';
import type { Side } from '@pageferry/core/control';
import { Command, CommanderError } from 'commander';
import { addMigrationFlags, type FlagsOf, type MigrationFlags } from './migration-flags.ts';
import { toMigrateOptions, toReceiveOptions } from './migration-options.ts';

function parse(args: string[], sides: Side[] = ['source'], more: Partial<FlagsOf> = {}): MigrationFlags {
  const command = new Command('x').exitOverride().configureOutput({ outputError: () => {} });
  addMigrationFlags(command, { sides, ...more });
  return command.parse(args, { from: 'user' }).opts<MigrationFlags>();
}

const migrateOptions = (...args: string[]) => toMigrateOptions(parse(args), false);

test('what was not given is absent, so that the library decides', () => {
  assert.deepEqual(migrateOptions(), { multifd: false });
  assert.deepEqual(toMigrateOptions({}, true), { multifd: true });
  assert.deepEqual(toReceiveOptions({}, false), { multifd: false });
});

test('every flag reaches the options of the source', () => {
  const args =
    '--capability multifd --capability return-path=off --multifd-channels 4 --multifd-compression zlib';
  const more = '--multifd-backend pako --multifd-zlib-level 9 --multifd-flush-after-each-section=off';
  const rest =
    '--zero-page-detection legacy --send-switchover-start off --max-bandwidth 100M --downtime-limit 50';
  const limits = '--connect-timeout 1 --channel-timeout 2s --stall-timeout 300ms';
  assert.deepEqual(migrateOptions(...`${args} ${more} ${rest} ${limits}`.split(' ')), {
    multifd: true,
    returnPath: false,
    multifdChannels: 4,
    multifdCompression: 'zlib',
    multifdBackend: 'pako',
    multifdZlibLevel: 9,
    multifdFlushAfterEachSection: false,
    zeroPageDetection: 'legacy',
    sendSwitchoverStart: false,
    maxBandwidthBytesPerSecond: 100 * 2 ** 20,
    downtimeLimitMs: 50,
    connectTimeoutMs: 1000,
    channelTimeoutMs: 2000,
    stallTimeoutMs: 300,
  });
  const zstd = migrateOptions('--multifd-compression', 'zstd', '--multifd-zstd-level', '20');
  assert.equal(zstd.multifdZstdLevel, 20);
});

test('multifd is no default beside what it does not go with', () => {
  const xbzrle = parse(['--capability', 'xbzrle', '--xbzrle-cache-size', '8M']);
  const expected = { multifd: false, xbzrle: true, xbzrleCacheSizeBytes: 8 * 2 ** 20 };
  assert.deepEqual(toMigrateOptions(xbzrle, true), expected);
  assert.equal(toReceiveOptions(xbzrle, true).multifd, false);
  assert.equal(toMigrateOptions(parse(['--capability', 'xbzrle=off']), true).multifd, true);
  assert.throws(() => migrateOptions('--xbzrle-cache-size', '8M'), { code: 'bad-option' });
});

test('the flags of both sides reach the options of the destination', () => {
  const args = '--multifd-channels 1 --multifd-compression lz4 --announce-step 7 --stall-timeout 0'.split(
    ' ',
  );
  const flags = parse(args, ['destination']);
  assert.deepEqual(toReceiveOptions(flags, false), {
    multifd: true,
    multifdChannels: 1,
    multifdCompression: 'lz4',
    announceStepMs: 7,
    stallTimeoutMs: 0,
  });
});

test('flags of the compress threads need the capability, and go to their side', () => {
  const both = ['--capability', 'compress', '--compress-threads', '3', '--compress-wait-thread=off'];
  const flags = parse(
    [...both, '--decompress-threads', '4', '--decompress-error-check=off'],
    ['source', 'destination'],
  );
  assert.deepEqual(toMigrateOptions(flags, true), {
    multifd: false,
    compress: true,
    compressThreads: 3,
    compressWaitThread: false,
  });
  assert.deepEqual(toReceiveOptions(flags, true), {
    multifd: false,
    compress: true,
    decompressThreads: 4,
    decompressErrorCheck: false,
  });
  const alone = (...args: string[]) => toReceiveOptions(parse(args, ['destination']), false);
  assert.throws(() => alone('--decompress-threads', '4'), { code: 'bad-option' });
  assert.throws(() => alone('--decompress-error-check'), { code: 'bad-option' });
});

test('mapped-ram is an option of a source that can use it', () => {
  assert.deepEqual(migrateOptions('--capability', 'mapped-ram=on'), { multifd: false, mappedRam: true });
});

test('a multifd flag turns multifd on', () => {
  assert.equal(migrateOptions('--multifd-channels', '2').multifd, true);
  assert.equal(migrateOptions('--multifd-flush-after-each-section').multifdFlushAfterEachSection, true);
  assert.equal(migrateOptions('--capability', 'multifd=on').multifd, true);
});

test('contradictions are refused', () => {
  const contradiction = { code: 'bad-option' };
  assert.throws(() => migrateOptions('--capability', 'multifd=off', '--multifd-channels', '2'), {
    ...contradiction,
    message: '--multifd-channels contradicts --capability multifd=off',
  });
  assert.throws(
    () => migrateOptions('--capability', 'multifd', '--capability', 'multifd=off'),
    contradiction,
  );
  assert.throws(() => migrateOptions('--multifd-zlib-level', '1'), contradiction);
  assert.throws(
    () => migrateOptions('--multifd-compression', 'zlib', '--multifd-zstd-level', '1'),
    contradiction,
  );
});

test('capabilities that are not there are refused by name', () => {
  const refusal = (message: RegExp) => (error: unknown) =>
    error instanceof CommanderError && message.test(error.message);
  assert.throws(() => parse(['--capability', 'postcopy-ram']), refusal(/postcopy-ram is not supported/));
  assert.throws(
    () => parse(['--capability', 'multifd'], ['source'], { without: { multifd: 'is for others' } }),
    refusal(/Capability multifd is for others\./),
  );
  const still: Partial<FlagsOf> = { without: { 'auto-converge': 'is for others' } };
  assert.throws(
    () => parse(['--max-cpu-throttle', '50'], ['source'], still),
    refusal(/unknown option '--max-cpu-throttle'/),
  );
  assert.throws(
    () => parse(['--capability', 'return-path'], ['destination']),
    refusal(/return-path is decided by the source/),
  );
  assert.throws(() => parse(['--capability', 'events']), refusal(/events acts in the monitor/));
  assert.throws(() => parse(['--capability', 'multifdd']), refusal(/multifdd is not known/));
  assert.throws(() => parse(['--capability', 'multifd=maybe']), refusal(/Expected on or off/));
  assert.throws(() => parse(['--capability', 'multifd=on=off']), refusal(/name=on or name=off/));
});
