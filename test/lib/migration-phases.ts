import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  type MigrationInfo,
  type QmpClient,
  QmpError,
  type QmpEvent,
  type RunState,
} from '@pageferry/core/qmp';
import type { QemuVersion } from './find-qemus.ts';

/**
 * Drives a source and a destination over QMP through the phases of migrations, and notes what both answer in each:
 * the members of `query-migrate`, the run state, whether what must be refused is, and the events in their order. The
 * peers are two QEMUs of one version (recorded in `test/fixtures/qmp-phases/<version>.json` by
 * `scripts/qmp-phases.ts --record`) or two of `pageferry serve`, which must not differ.
 */
export interface Observation {
  readonly phase: string;
  readonly side: 'source' | 'destination';
  /** Run state. */
  readonly run: string;
  readonly status: string;
  /** Members of query-migrate, sorted; those of an object in it after a dot. */
  readonly members: readonly string[];
}

export interface PhaseRecord {
  readonly observations: readonly Observation[];
  /** By side: event names with what they say; passes that follow each other are one. */
  readonly events: Readonly<Record<'source' | 'destination', readonly string[]>>;
  /** Commands that were given where they make no sense, and the class of the answer; null: it was accepted. */
  readonly refusals: readonly (readonly [string, string | null])[];
}

export interface Pair {
  readonly source: QmpClient;
  readonly destination: QmpClient;
  /** A port of this host at which nobody listens. */
  readonly deadUri: string;
  /** Told each whole answer. */
  readonly onAnswer?: (phase: string, side: 'source' | 'destination', info: MigrationInfo) => void;
}

const SLOW = { 'max-bandwidth': 4 << 20, 'downtime-limit': 1 };
const FAST = { 'max-bandwidth': 2 ** 33, 'downtime-limit': 2000 };
const PATIENCE_MS = 30_000;
const POLL_MS = 5;

export function recordedPhases(version: QemuVersion): PhaseRecord {
  return JSON.parse(readFileSync(phasesFile(version), 'utf8')) as PhaseRecord;
}

export function phasesFile(version: QemuVersion): string {
  return fileURLToPath(new URL(`../fixtures/qmp-phases/${version}.json`, import.meta.url));
}

/** The source runs a guest that writes all the time; the destination was started with `-incoming defer`. */
export async function observePhases({ source, destination, deadUri, onAnswer }: Pair): Promise<PhaseRecord> {
  const observations: Observation[] = [];
  const refusals: [string, string | null][] = [];
  const sides = { source, destination };
  const note = async (phase: string, ...which: (keyof typeof sides)[]) => {
    for (const side of which.length > 0 ? which : (['source', 'destination'] as const)) {
      const info = await sides[side].execute('query-migrate');
      onAnswer?.(phase, side, info);
      const { status: run } = await sides[side].execute('query-status');
      observations.push({ phase, side, run, status: info.status ?? '', members: membersOf(info) });
    }
  };
  const refuse = async (client: QmpClient, command: string, args: Record<string, unknown> = {}) => {
    const name = `${command} ${JSON.stringify(args)}`.replace(deadUri, 'URI').replace(/:\d+"/, ':PORT"');
    refusals.push([`${observations.at(-1)?.phase}: ${name}`, await classOf(client, command, args)]);
  };

  await note('before');
  for (const client of [source, destination]) await enable(client, 'events');
  await refuse(source, 'migrate-incoming', { uri: deadUri });
  await refuse(source, 'migrate-continue', { state: 'pre-switchover' });
  await refuse(source, 'migrate_cancel');
  await refuse(destination, 'migrate', { uri: deadUri });
  await refuse(destination, 'cont');
  const uri = await listen(destination);
  await note('listening', 'destination');
  await refuse(destination, 'migrate-incoming', { uri: 'tcp:127.0.0.1:0' });

  await source.execute('migrate', { uri: deadUri });
  await reach(source, 'failed');
  await note('refused', 'source');

  await enable(source, 'pause-before-switchover');
  await source.execute('migrate-set-parameters', SLOW);
  await source.execute('migrate', { uri });
  await reach(source, 'active');
  await reach(destination, 'active');
  await note('active');
  await refuse(source, 'migrate', { uri });
  await refuse(source, 'migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
  await refuse(source, 'migrate-continue', { state: 'pre-switchover' });
  await refuse(source, 'migrate-set-parameters', { 'downtime-limit': 3_000_000 });
  await source.execute('stop');
  await note('active, stopped', 'source');
  await source.execute('cont');
  await source.execute('migrate-set-parameters', FAST);
  await reach(source, 'pre-switchover');
  await note('paused');
  await refuse(source, 'cont');
  await refuse(source, 'stop');
  await refuse(source, 'migrate-continue', { state: 'device' });
  await source.execute('migrate-continue', { state: 'pre-switchover' });
  await reach(source, 'completed');
  await reach(destination, 'completed');
  await inState(source, 'postmigrate');
  await running(destination);
  await note('completed');
  await refuse(source, 'migrate', { uri: deadUri });
  await refuse(source, 'stop');
  await refuse(destination, 'migrate-incoming', { uri: 'tcp:127.0.0.1:0' });

  // Each may be a source now.
  await source.execute('cont');
  await note('continued', 'source');
  await destination.execute('migrate', { uri: deadUri });
  await reach(destination, 'failed');
  await note('the other way', 'destination');
  return {
    observations,
    events: { source: eventNames(source.events), destination: eventNames(destination.events) },
    refusals,
  };
}

/** A migration that is cancelled, and one that is cancelled with the guest stopped by its owner. */
export async function observeCancel({ source, destination }: Pair): Promise<string[]> {
  const seen: string[] = [];
  await enable(source, 'events');
  await source.execute('migrate-set-parameters', SLOW);
  const uri = await listen(destination);
  await source.execute('migrate', { uri });
  await reach(source, 'active');
  await source.execute('migrate_cancel');
  await reach(source, 'cancelled');
  seen.push((await source.execute('query-status')).status);
  // What a broken return path leaves here depends on which is first, in QEMU itself.
  const { 'error-desc': _, ...info } = await source.execute('query-migrate');
  seen.push(membersOf(info).join());
  return [...seen, ...eventNames(source.events)];
}

/** Names of members, sorted, with one level of objects. */
export function membersOf(info: MigrationInfo): string[] {
  const names = Object.entries(info).flatMap(([name, value]) => {
    const inner = Array.isArray(value) ? value[0] : value;
    if (typeof inner !== 'object' || inner === null) return [name];
    return [name, ...Object.keys(inner).map((member) => `${name}.${member}`)];
  });
  return names.sort();
}

/** What events say, in order; passes that follow each other are one. */
export function eventNames(events: readonly QmpEvent[]): string[] {
  const names = events.map(({ event, data }) => (event === 'MIGRATION' ? String(data?.status) : event));
  return names.filter((name, index) => name !== 'MIGRATION_PASS' || names[index - 1] !== name);
}

/** Waits until the migration is in that state. Any other end is an error. */
export async function reach(client: QmpClient, status: string): Promise<MigrationInfo> {
  for (const deadline = performance.now() + PATIENCE_MS; ; await sleep(POLL_MS)) {
    const info = await client.execute('query-migrate');
    if (info.status === status) return info;
    const over = ['failed', 'cancelled', 'completed'].includes(info.status ?? '') && status !== 'setup';
    // A source that has failed before may not have begun the next one.
    if ((over && status !== 'active') || performance.now() > deadline) {
      throw new Error(`the migration is ${info.status}, not ${status}: ${info['error-desc'] ?? ''}`);
    }
  }
}

/** Waits until the machine is in that run state, which follows the migration's state. */
export async function inState(client: QmpClient, state: RunState): Promise<void> {
  for (const deadline = performance.now() + PATIENCE_MS; ; await sleep(POLL_MS)) {
    const { status } = await client.execute('query-status');
    if (status === state) return;
    if (performance.now() > deadline) throw new Error(`the machine is ${status}, not ${state}`);
  }
}

/** Waits until the guest runs. */
export function running(client: QmpClient): Promise<void> {
  return inState(client, 'running');
}

/** Lets a deferred destination listen. Returns the URI for the source. */
export async function listen(client: QmpClient, uri = 'tcp:127.0.0.1:0'): Promise<string> {
  await client.execute('migrate-incoming', { uri });
  const [address] = (await client.execute('query-migrate'))['socket-address'] ?? [];
  return address?.type === 'inet' ? `tcp:${address.host}:${address.port}` : uri;
}

export async function enable(client: QmpClient, ...names: string[]): Promise<void> {
  const capabilities = names.map((capability) => ({ capability, state: true }));
  await client.execute('migrate-set-capabilities', { capabilities });
}

async function classOf(client: QmpClient, command: string, args: Record<string, unknown>) {
  try {
    await client.execute(command, args);
    return null;
  } catch (error) {
    if (error instanceof QmpError) return error.class;
    throw error;
  }
}
