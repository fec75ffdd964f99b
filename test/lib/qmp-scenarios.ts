import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MigrationInfo, QmpClient } from '@pageferry/core/qmp';
import { TemporaryFolder } from './capture-files.ts';
import { enable, inState, listen, reach, running } from './migration-phases.ts';
import type { Peer, PeerKind, PeerOptions } from './qmp-peers.ts';

/**
 * Migrations, each the same QMP commands for whatever is at either end. A scenario throws when anything is not as it
 * must be: a state that is not reached, a feature that left no trace in `query-migrate`, a guest that does not live.
 */
export interface Scenario {
  readonly name: string;
  /** The guest must be one of QEMU's, also between two pageferrys. */
  readonly foreignGuest?: boolean;
  /** Why this scenario cannot be between these two; undefined: it can. */
  unfit?(source: PeerKind, destination: PeerKind): string | undefined;
  run(start: Starter): Promise<void>;
}

/** Starts the machines of a scenario; they end with it. */
export interface Starter {
  source(options?: PeerOptions): Promise<Peer>;
  destination(options?: PeerOptions): Promise<Peer>;
  /** A path where nothing is, gone after the scenario. */
  readonly file: string;
}

const UUID = '6f1ed002-ab60-4a2c-8a3f-0123456789ab';
const OTHER_UUID = '00000000-1111-2222-3333-444444444444';
/** With these a guest that writes all the time does not arrive. */
const SLOW = { 'max-bandwidth': 4 << 20, 'downtime-limit': 1 };
const FAST = { 'max-bandwidth': 2 ** 33, 'downtime-limit': 2000 };
const POLL_MS = 10;
const PATIENCE_MS = 60_000;

const noVcpus = (source: PeerKind) => (source.live ? undefined : 'the image has no CPUs');

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'plain',
    async run(start) {
      const { source, destination } = await pair(start);
      await source.qmp.execute('migrate', { uri: await listen(destination.qmp) });
      await arrive(source, destination);
    },
  },
  {
    name: 'multifd',
    async run(start) {
      const { source, destination } = await pair(start);
      for (const { qmp } of [source, destination]) {
        await enable(qmp, 'multifd');
        await qmp.execute('migrate-set-parameters', { 'multifd-channels': 4, 'multifd-compression': 'zstd' });
      }
      await source.qmp.execute('migrate', { uri: await listen(destination.qmp) });
      const info = await arrive(source, destination);
      assert.ok(info.ram!['multifd-bytes'] > 0, 'nothing went over multifd channels');
    },
  },
  {
    name: 'xbzrle',
    unfit: noVcpus,
    async run(start) {
      const { source, destination } = await pair(start);
      await enable(source.qmp, 'xbzrle');
      await iterate(source, await listen(destination.qmp), (info) => info['xbzrle-cache']!.pages > 0);
      await arrive(source, destination);
    },
  },
  {
    name: 'auto-converge',
    unfit: noVcpus,
    async run(start) {
      const { source, destination } = await pair(start);
      await enable(source.qmp, 'auto-converge');
      await source.qmp.execute('migrate-set-parameters', {
        'throttle-trigger-threshold': 1,
        'cpu-throttle-initial': 50,
      });
      await iterate(
        source,
        await listen(destination.qmp),
        (info) => (info['cpu-throttle-percentage'] ?? 0) >= 50,
      );
      await arrive(source, destination);
    },
  },
  {
    name: 'pause-before-switchover',
    async run(start) {
      const { source, destination } = await pair(start);
      await enable(source.qmp, 'pause-before-switchover');
      await source.qmp.execute('migrate', { uri: await listen(destination.qmp) });
      await reach(source.qmp, 'pre-switchover');
      assert.equal((await source.qmp.execute('query-status')).status, 'finish-migrate');
      assert.equal((await destination.qmp.execute('query-status')).status, 'inmigrate');
      await source.qmp.execute('migrate-continue', { state: 'pre-switchover' });
      await arrive(source, destination);
    },
  },
  {
    name: 'cancel and retry',
    async run(start) {
      const { source, destination } = await pair(start);
      await source.qmp.execute('migrate-set-parameters', SLOW);
      await source.qmp.execute('migrate', { uri: await listen(destination.qmp) });
      await reach(source.qmp, 'active');
      await source.qmp.execute('migrate_cancel');
      await reach(source.qmp, 'cancelled');
      await destination.exited;
      await source.expectAlive();
      const second = await start.destination({ incoming: true });
      await source.qmp.execute('migrate-set-parameters', FAST);
      await source.qmp.execute('migrate', { uri: await listen(second.qmp) });
      await arrive(source, second);
    },
  },
  {
    name: 'validate-uuid, right',
    async run(start) {
      const { source, destination } = await pair(start, { uuid: UUID });
      await enable(source.qmp, 'validate-uuid');
      await source.qmp.execute('migrate', { uri: await listen(destination.qmp) });
      await arrive(source, destination);
      assert.equal((await destination.qmp.execute('query-uuid')).UUID, UUID);
    },
  },
  {
    name: 'validate-uuid, wrong',
    async run(start) {
      const { source, destination } = await pair(start, { uuid: UUID }, { uuid: OTHER_UUID });
      await enable(source.qmp, 'validate-uuid');
      await source.qmp.execute('migrate', { uri: await listen(destination.qmp) });
      await destination.exited;
      await reach(source.qmp, 'failed');
      await source.expectAlive();
    },
  },
  {
    name: 'ignore-shared',
    foreignGuest: true,
    async run(start) {
      const { source, destination } = await pair(start, { sharedRam: start.file });
      for (const { qmp } of [source, destination]) await enable(qmp, 'x-ignore-shared');
      await source.qmp.execute('migrate', { uri: await listen(destination.qmp) });
      const info = await arrive(source, destination);
      assert.ok(info.ram!.total < 1 << 20, 'RAM was not left where it is');
    },
  },
];

async function pair(start: Starter, ofSource: PeerOptions = {}, ofDestination = ofSource) {
  const destination = await start.destination({ ...ofDestination, incoming: true });
  const source = await start.source(ofSource);
  // The destination says whether it could take the guest.
  await enable(source.qmp, 'events', 'return-path');
  await source.qmp.execute('migrate-set-parameters', FAST);
  return { source, destination };
}

/** Waits until both ends say that the guest has moved, and looks whether it lives. Returns what the source tells. */
async function arrive(source: Peer, destination: Peer): Promise<MigrationInfo> {
  const info = await reach(source.qmp, 'completed');
  await reach(destination.qmp, 'completed');
  await running(destination.qmp);
  await inState(source.qmp, 'postmigrate');
  await destination.expectAlive();
  return info;
}

/** Migrates too slowly to arrive until a trace of the feature is there, then lets it arrive. */
async function iterate(source: Peer, uri: string, reached: (info: MigrationInfo) => boolean): Promise<void> {
  await source.qmp.execute('migrate-set-parameters', SLOW);
  await source.qmp.execute('migrate', { uri });
  await until(source.qmp, reached);
  await source.qmp.execute('migrate-set-parameters', FAST);
}

async function until(qmp: QmpClient, reached: (info: MigrationInfo) => boolean): Promise<void> {
  for (const deadline = performance.now() + PATIENCE_MS; ; await sleep(POLL_MS)) {
    const info = await qmp.execute('query-migrate');
    // A guest may arrive between the trace and the look at it.
    if ((info.status === 'active' || info.status === 'completed') && reached(info)) return;
    const over = info.status === 'failed' || info.status === 'completed' || info.status === 'cancelled';
    if (over || performance.now() > deadline)
      throw new Error(`${info.status}, without a trace of the feature`);
  }
}

/** Runs a scenario between machines of two kinds. */
export async function runScenario(
  scenario: Scenario,
  source: PeerKind,
  destination: PeerKind,
): Promise<void> {
  await using machines = new AsyncDisposableStack();
  await scenario.run({
    source: async (options = {}) => machines.use(await source.start(options)),
    destination: async (options = {}) => machines.use(await destination.start(options)),
    file: machines.use(await TemporaryFolder.create()).file('ram'),
  });
}
