import assert from 'node:assert/strict';
import test from 'node:test';
import type { QmpTimedEvent } from '@pageferry/core/qmp';
import { QEMU_VERSIONS, type QemuVersion } from './lib/find-qemus.ts';
import { lastMigrationInfo, readTranscript } from './lib/fixtures.ts';
import {
  enable,
  eventNames,
  listen,
  membersOf,
  observeCancel,
  observePhases,
  reach,
  recordedPhases,
} from './lib/migration-phases.ts';
import { Qemu } from './lib/qemu.ts';
import { qemuTest } from './lib/qemu-test.ts';
import { Served } from './lib/served.ts';

/** What QEMU tells over QMP in each phase of a migration, and pageferry in its place: the same. */

/** Writes more than the slow migrations of the observation send. */
const GUEST = ['--guest', 'builtin,size=16M,dirty-rate=64M'];
const DEAD_URI = 'tcp:127.0.0.1:1';
const LIMIT = { timeout: 120_000 };

async function servedPair(version: QemuVersion, ...options: { source?: string[]; destination?: string[] }[]) {
  const { source = [], destination = [] } = options[0] ?? {};
  const release = ['--qemu-version', version];
  const stack = new AsyncDisposableStack();
  const waiting = stack.use(
    await Served.start('--guest', 'builtin', '--incoming', 'defer', ...release, ...destination),
  );
  const sending = stack.use(await Served.start(...GUEST, ...release, ...source));
  return {
    source: sending.qmp,
    destination: waiting.qmp,
    deadUri: DEAD_URI,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

for (const version of QEMU_VERSIONS) {
  test(`two pageferrys answer in every phase as QEMU ${version} did`, LIMIT, async () => {
    await using pair = await servedPair(version);
    assert.deepEqual(await observePhases(pair), recordedPhases(version));
  });

  qemuTest(version, `two QEMUs ${version} answer in every phase as was recorded`, async () => {
    await using destination = await Qemu.start({ version, incoming: 'defer' });
    await using source = await Qemu.start({ version });
    await source.waitForMoreSerial(1);
    const pair = { source: source.qmp, destination: destination.qmp, deadUri: DEAD_URI };
    assert.deepEqual(await observePhases(pair), recordedPhases(version));
  });

  qemuTest(version, `a cancelled migration, in QEMU ${version} and in pageferry`, async () => {
    await using destination = await Qemu.start({ version, incoming: 'defer' });
    await using source = await Qemu.start({ version });
    const theirs = { source: source.qmp, destination: destination.qmp, deadUri: DEAD_URI };
    await using ours = await servedPair(version);
    assert.deepEqual(await observeCancel(ours), await observeCancel(theirs));
  });
}

/** The dialogue of a fixture of `test/fixtures`: final answers and events of one side. */
function transcript(path: string, side: 'src' | 'dst') {
  const lines = readTranscript(path).filter((line) => line.side === side);
  const timeOf = ({ timestamp: { seconds, microseconds } }: QmpTimedEvent) => seconds * 1e6 + microseconds;
  const events = lines.flatMap(({ event }) => (event === undefined ? [] : [event]));
  const info = lastMigrationInfo(path, side);
  return {
    events: eventNames(events.sort((one, other) => timeOf(one) - timeOf(other))),
    members: info && membersOf(info),
  };
}

const PASS = 'MIGRATION_PASS';
for (const version of QEMU_VERSIONS) {
  const fixtures: { fixture: string; paused?: boolean; on?: string[]; releases?: QemuVersion[] }[] = [
    { fixture: 'precopy-iterations' },
    { fixture: 'stop-and-copy', paused: true },
    { fixture: 'multifd-none', on: ['multifd'] },
    { fixture: 'xbzrle', on: ['xbzrle'] },
    { fixture: 'compress', on: ['compress'], releases: ['7.2'] },
    { fixture: 'pause-before-switchover', on: ['pause-before-switchover'] },
  ];
  for (const { fixture, paused = false, on = [], releases = QEMU_VERSIONS } of fixtures) {
    if (!releases.includes(version)) continue;
    test(`events and answers of pageferry and the recorded QEMU ${version}: ${fixture}`, LIMIT, async () => {
      // The recorded destinations did not run.
      await using pair = await servedPair(version, { destination: ['-S'] });
      const { source, destination } = pair;
      for (const client of [source, destination]) await enable(client, 'events', 'return-path', ...on);
      if (paused) await source.execute('stop');
      await source.execute('migrate-set-parameters', { 'downtime-limit': 2000 });
      await source.execute('migrate', { uri: await listen(destination) });
      if (on.includes('pause-before-switchover')) {
        await reach(source, 'pre-switchover');
        await source.execute('migrate-continue', { state: 'pre-switchover' });
      }
      const told = await reach(source, 'completed');
      const taken = await reach(destination, 'completed');
      await Promise.all([source.execute('quit'), destination.execute('quit')]);
      await Promise.all([source.closed, destination.closed]);
      for (const [side, client, info] of [
        ['src', source, told],
        ['dst', destination, taken],
      ] as const) {
        const recorded = transcript(`${version}/${fixture}`, side);
        assert.deepEqual(membersOf(info), recorded.members);
        // How many passes there are depends on the guest.
        const without = (names: string[]) => names.filter((name) => name !== PASS);
        assert.deepEqual(without(eventNames(client.events)), without(recorded.events));
      }
      const passes = source.events.filter(({ event }) => event === PASS).map(({ data }) => data?.pass);
      assert.deepEqual(
        passes,
        passes.map((_, index) => index + 1),
      );
      assert.ok(passes.length >= 2);
      assert.equal(eventNames(source.events).indexOf(PASS), paused ? 2 : 1);
    });
  }
}
