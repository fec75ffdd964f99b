import assert from 'node:assert/strict';
import test from 'node:test';
import { MIGRATE_DEFAULTS, resolveMigrateOptions, resolveReceiveOptions } from '../options.ts';
import { MigrationSettings, parseQemuVersion, QEMU_VERSIONS, type QemuVersion } from './index.ts';
import type { Side } from './use.ts';

const settings = (side: Side = 'source', version: QemuVersion = '10.0') =>
  new MigrationSettings({ side, version });
const on = (...names: string[]) => names.map((capability) => ({ capability, state: true }));
const bad = (message: RegExp) => ({ code: 'bad-option', message });

test("the defaults are QEMU's, and reach the options", () => {
  const options = settings().toMigrateOptions();
  const { maxBandwidthBytesPerSecond, returnPath, ...rest } = options;
  assert.equal(maxBandwidthBytesPerSecond, 128 * 2 ** 20);
  assert.equal(returnPath, false);
  for (const [name, value] of Object.entries(rest)) {
    assert.equal(value, MIGRATE_DEFAULTS[name as keyof typeof MIGRATE_DEFAULTS], name);
  }
  resolveMigrateOptions(options);
  resolveReceiveOptions(settings('destination').toReceiveOptions());
});

test('what is set is told and reaches the options', () => {
  const source = settings();
  source.setParameters({ 'max-bandwidth': 5, 'downtime-limit': 70, 'multifd-compression': 'zstd' });
  source.setParameters({ 'multifd-channels': 3n, 'zero-page-detection': 'legacy' });
  source.setCapabilities(on('multifd', 'return-path'));
  const told = source.queryParameters();
  assert.equal(told['max-bandwidth'], 5);
  assert.equal(told['multifd-channels'], 3);
  assert.deepEqual(
    source.queryCapabilities().filter(({ state }) => state),
    on('return-path', 'multifd'),
  );
  assert.partialDeepStrictEqual(source.toMigrateOptions(), {
    maxBandwidthBytesPerSecond: 5,
    downtimeLimitMs: 70,
    multifdChannels: 3,
    multifdCompression: 'zstd',
    multifdZlibLevel: 1,
    multifdZstdLevel: 1,
    zeroPageDetection: 'legacy',
    returnPath: true,
    pauseBeforeSwitchover: false,
    multifd: true,
    mappedRam: false,
  });
});

test('up to 8.1 multifd and xbzrle may both be on, and multifd carries the pages', () => {
  const older = settings('source', '7.2');
  older.setCapabilities(on('xbzrle'));
  assert.equal(older.toMigrateOptions().xbzrle, true);
  older.setCapabilities(on('multifd'));
  assert.equal(older.toMigrateOptions().xbzrle, false);
  resolveMigrateOptions(older.toMigrateOptions());
  older.setParameters({ 'xbzrle-cache-size': 8192 });
  assert.deepEqual(older.liveChanges({ 'xbzrle-cache-size': 4096 }), { xbzrleCacheSizeBytes: 4096 });
});

test('integers of 64 bits are kept whole', () => {
  const source = settings();
  source.setParameters({ 'max-bandwidth': 2n ** 64n - 1n });
  assert.equal(source.queryParameters()['max-bandwidth'], 2n ** 64n - 1n);
  assert.equal(source.toMigrateOptions().maxBandwidthBytesPerSecond, Number.MAX_SAFE_INTEGER);
  source.setParameters({ 'max-bandwidth': -1 });
  assert.equal(source.queryParameters()['max-bandwidth'], 2n ** 64n - 1n);
  assert.throws(() => source.setParameters({ 'max-bandwidth': 2n ** 64n }), bad(/^max-bandwidth/));
});

test('bad arguments change nothing and are named', () => {
  const source = settings();
  const before = source.queryParameters();
  const cases: [unknown, RegExp][] = [
    [{ 'multifd-channels': 0 }, /^multifd-channels .*found 0, expected 1 to 255/],
    [{ 'multifd-channels': 256 }, /^multifd-channels .*found 256, expected an integer from 0 to 255/],
    [{ 'multifd-channels': true }, /^multifd-channels .*found true, expected an integer/],
    [{ 'multifd-compression': 'lz4' }, /^multifd-compression .*"lz4", expected none, zlib, zstd/],
    [{ 'downtime-limit': 1, 'announce-step': 0 }, /^announce-step/],
    [{ 'downtime-limit': 1, 'no-such': 0 }, /^no-such is not known/],
    [{ 'compress-level': 1 }, /^compress-level is not known/],
    [{ 'max-cpu-throttle': 19 }, /^max-cpu-throttle .*found 19, expected 20 to 99/],
    [{ 'xbzrle-cache-size': 12_288 }, /^xbzrle-cache-size .*power of two from 4096 on/],
    [{ 'cpu-throttle-tailslow': 'on' }, /^cpu-throttle-tailslow .*"on", expected true or false/],
    [{ 'tls-creds': 5 }, /^tls-creds .*found 5, expected a string/],
    [[], /^migration parameters/],
    [null, /^migration parameters/],
  ];
  for (const [args, message] of cases) assert.throws(() => source.setParameters(args), bad(message));
  assert.deepEqual(source.queryParameters(), before);
});

test('capabilities are checked as a whole', () => {
  const source = settings();
  source.setCapabilities(on('multifd'));
  assert.throws(() => source.setCapabilities(on('xbzrle')), bad(/multifd does not go with xbzrle/));
  assert.throws(() => source.setCapabilities(on('switchover-ack')), bad(/needs capability return-path/));
  assert.throws(
    () => source.setCapabilities(on('compress')),
    bad(/^capabilities\[0\].capability .*"compress"/),
  );
  assert.throws(
    () => source.setCapabilities([{ capability: 'multifd' }]),
    bad(/^capabilities\[0\].state is missing/),
  );
  assert.throws(() => source.setCapabilities(on('events'), { running: true }), bad(/while a migration runs/));
  assert.throws(() => source.setCapabilities(undefined), bad(/^capabilities is missing/));
  assert.ok(source.isOn('multifd'));
});

test('what is not supported is refused by name when it is set, and only then', () => {
  const source = settings();
  source.setParameters({ 'max-postcopy-bandwidth': 0, 'tls-creds': null, 'direct-io': false });
  source.setCapabilities([{ capability: 'x-colo', state: false }]);
  const unsupported = (message: RegExp) => ({ code: 'unsupported', message });
  assert.throws(() => source.setParameters({ 'tls-creds': 'x' }), unsupported(/^tls-creds is not supported/));
  assert.throws(
    () => source.setCapabilities(on('x-colo')),
    unsupported(/^capability x-colo is not supported/),
  );
  // A destination does not look at it; what it becomes later does.
  const destination = settings('destination');
  destination.setParameters({ 'max-postcopy-bandwidth': 1 });
  destination.toReceiveOptions();
  assert.throws(() => destination.toMigrateOptions(), unsupported(/^max-postcopy-bandwidth/));
});

test('a destination that listens', () => {
  const situation = { incoming: true, listening: true };
  const set = (version: QemuVersion, severalConnections: boolean) => () =>
    settings('destination', version).setCapabilities(on('multifd'), { ...situation, severalConnections });
  set('7.2', true)();
  assert.throws(set('7.2', false), bad(/multifd must be set before/));
  assert.throws(set('10.0', true), bad(/multifd must be set before/));
  set('10.0', false)();
});

test('changes of a migration that runs', () => {
  const source = settings();
  const args = { 'max-bandwidth': 7, 'multifd-channels': 9, 'downtime-limit': 8 };
  assert.deepEqual(source.liveChanges(args), { maxBandwidthBytesPerSecond: 7, downtimeLimitMs: 8 });
  assert.throws(() => source.liveChanges({ 'downtime-limit': -1 }), bad(/^downtime-limit/));
  assert.equal(source.valueOf('max-bandwidth'), 128 * 2 ** 20);
});

test('limits of the guest', () => {
  const source = new MigrationSettings({
    side: 'source',
    version: '10.0',
    limits: {
      pageSizeBytes: 65_536,
      unavailable: { events: 'the guest is mute' },
      defaults: { 'zero-page-detection': 'legacy' },
    },
  });
  assert.throws(() => source.setParameters({ 'xbzrle-cache-size': 4096 }), bad(/from 65536 on/));
  assert.throws(() => source.setCapabilities(on('events')), bad(/^capability events: the guest is mute/));
  assert.equal(source.queryParameters()['zero-page-detection'], 'legacy');
  assert.equal(source.toMigrateOptions().zeroPageDetection, undefined);
});

test('what came and went with each release', () => {
  const names = (version: QemuVersion): string[] => {
    const asked = settings('source', version);
    return [
      ...Object.keys(asked.queryParameters()),
      ...asked.queryCapabilities().map((one) => one.capability),
    ];
  };
  const changes = Object.fromEntries(
    QEMU_VERSIONS.slice(1).map((version, i) => {
      const [now, before] = [names(version), names(QEMU_VERSIONS[i]!)];
      const gone = before.filter((name) => !now.includes(name)).map((name) => `-${name}`);
      return [version, [...now.filter((name) => !before.includes(name)), ...gone].join(' ')];
    }),
  );
  const none = Object.fromEntries(QEMU_VERSIONS.slice(1).map((version) => [version, '']));
  assert.deepEqual(changes, {
    // 5.2 has block-bitmap-mapping, which is not told before it was set.
    ...none,
    '6.0': 'background-snapshot',
    '7.1': 'zero-copy-send postcopy-preempt',
    '8.1': 'x-vcpu-dirty-limit-period vcpu-dirty-limit switchover-ack dirty-limit',
    '8.2': 'avail-switchover-bandwidth mode',
    '9.0': 'zero-page-detection mapped-ram',
    '9.1':
      'direct-io -compress-level -compress-threads -compress-wait-thread -decompress-threads ' +
      '-block-incremental -compress -block',
    '9.2': 'multifd-qatzip-level',
    '10.2': 'cpr-exec-command',
  });
  const mode = (version: QemuVersion, value: string) =>
    settings('source', version).setParameters({ mode: value });
  assert.throws(() => mode('9.2', 'cpr-transfer'), bad(/expected normal, cpr-reboot$/));
  assert.throws(() => mode('10.0', 'cpr-transfer'), { code: 'unsupported' });
  assert.throws(() => parseQemuVersion('5.0'), bad(/"5.0", expected one of 5.1, /));
});
