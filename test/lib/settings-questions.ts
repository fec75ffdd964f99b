import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type QmpClient, QmpError } from '@pageferry/core/qmp';
import type { QemuVersion } from './find-qemus.ts';

/**
 * What a QEMU says to good and bad settings, for comparison with pageferry's own answers. Recorded in
 * `test/fixtures/settings/<version>.json` by `scripts/record-settings.ts`.
 */
export interface SettingsAnswers {
  /** query-migrate-parameters and query-migrate-capabilities of a fresh process. */
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly capabilities: readonly { capability: string; state: boolean }[];
  /** migrate-set-parameters: the parameter that an error names; null: it was accepted. */
  readonly parameterSets: readonly { set: Readonly<Record<string, unknown>>; refused: string | null }[];
  /** Capabilities that are refused on this host whatever else is on. */
  readonly unavailable: readonly string[];
  /** Sets of capabilities that do not go together: two of them, and what those need. */
  readonly refusedCapabilities: readonly (readonly string[])[];
}

export function recordedSettings(version: QemuVersion): SettingsAnswers {
  return JSON.parse(readFileSync(settingsFile(version), 'utf8')) as SettingsAnswers;
}

export function settingsFile(version: QemuVersion): string {
  return fileURLToPath(new URL(`../fixtures/settings/${version}.json`, import.meta.url));
}

/** Each value is out of range, at its range's edge, or of the wrong type. */
const PARAMETER_VALUES: Record<string, readonly unknown[]> = {
  'announce-initial': [-1, 0, 100_000, 100_001, 1.5, '5', null],
  'announce-max': [0, 100_000, 100_001],
  'announce-rounds': [0, 1000, 1001],
  'announce-step': [0, 1, 10_000, 10_001],
  'compress-level': [-1, 0, 9, 10, 256],
  'compress-threads': [0, 1, 255, 256],
  'compress-wait-thread': [1, false],
  'decompress-threads': [0, 1, 255],
  'throttle-trigger-threshold': [0, 1, 100, 101],
  'cpu-throttle-initial': [0, 1, 99, 100],
  'cpu-throttle-increment': [0, 1, 99, 100],
  'cpu-throttle-tailslow': [true, 0, 'on'],
  'tls-creds': ['x', '', null, 5],
  'tls-hostname': ['x', null, true],
  'tls-authz': ['x', null],
  'max-bandwidth': [0, 1, 2 ** 53 - 1, '1'],
  'avail-switchover-bandwidth': [0, 2 ** 53 - 1],
  'downtime-limit': [-1, 0, 2_000_000, 2_000_001],
  'x-checkpoint-delay': [0, 2 ** 32 - 1, 2 ** 32],
  'block-incremental': [true, 'true'],
  'multifd-channels': [0, 1, 255, 256, true],
  'xbzrle-cache-size': [0, 2048, 4095, 4096, 12_288, 2 ** 40],
  'max-postcopy-bandwidth': [0, 1],
  'max-cpu-throttle': [19, 20, 99, 100],
  'multifd-compression': ['none', 'zlib', 'zstd', 'lz4', 'no-such', 5],
  'multifd-qatzip-level': [0, 1, 9, 10],
  // QEMU up to 8.2 takes these two and does nothing with them, whatever they are.
  'multifd-zlib-level': [0, 9, 256],
  'multifd-zstd-level': [0, 20, 256],
  'x-vcpu-dirty-limit-period': [0, 1, 1000, 1001],
  'vcpu-dirty-limit': [0, 1, 2 ** 40],
  mode: ['normal', 'cpr-reboot', 'cpr-transfer', 'cpr-exec', 'no-such'],
  'zero-page-detection': ['none', 'legacy', 'multifd', 'no-such'],
  'direct-io': [true, 1],
  'cpr-exec-command': [['x'], 'x'],
  'no-such': [1],
};

const PARAMETER_SETS: readonly Record<string, unknown>[] = [
  ...Object.entries(PARAMETER_VALUES).flatMap(([name, values]) => values.map((value) => ({ [name]: value }))),
  {},
  { 'cpu-throttle-initial': 50, 'max-cpu-throttle': 40 },
  { 'max-cpu-throttle': 60, 'cpu-throttle-initial': 60 },
  { 'downtime-limit': 5, 'multifd-channels': 0 },
  { 'multifd-channels': 'x', 'no-such': 1 },
  { 'announce-step': 0, 'no-such': 1 },
  { 'block-bitmap-mapping': [{ 'node-name': 'a', alias: 'b' }] },
];

/** What has to be on as well. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  'zero-copy-send': ['multifd'],
  'postcopy-preempt': ['postcopy-ram'],
  'switchover-ack': ['return-path'],
};

/** Every two capabilities of a list together, with what they need. */
export function capabilityPairs(names: readonly string[]): string[][] {
  return names.flatMap((one, i) => names.slice(i + 1).map((other) => withNeeds(one, other)));
}

function withNeeds(...names: string[]): string[] {
  return [...new Set(names.flatMap((name) => [name, ...(NEEDS[name] ?? [])]))].sort();
}

/** Asks a fresh QEMU, and leaves it as it was. */
export async function askSettings(qmp: QmpClient): Promise<SettingsAnswers> {
  const parameters = (await qmp.execute('query-migrate-parameters')) as Record<string, unknown>;
  const capabilities = (await qmp.execute('query-migrate-capabilities')) as SettingsAnswers['capabilities'];
  const parameterSets = [];
  for (const set of PARAMETER_SETS) {
    const error = await attempt(() => qmp.execute('migrate-set-parameters', set));
    parameterSets.push({ set, refused: error === undefined ? null : namedParameter(error, set) });
    if (error === undefined) {
      const before = Object.keys(set).map((name) => [name, parameters[name]]);
      await qmp.execute('migrate-set-parameters', Object.fromEntries(before));
    }
  }
  const turn = (names: readonly string[], state: boolean) =>
    attempt(() =>
      qmp.execute('migrate-set-capabilities', {
        capabilities: names.map((capability) => ({ capability, state })) as never,
      }),
    );
  const goTogether = async (names: readonly string[]) => {
    const fine = (await turn(names, true)) === undefined;
    await turn(names, false);
    return fine;
  };
  const names = capabilities.map(({ capability }) => capability);
  const unavailable: string[] = [];
  for (const name of names) if (!(await goTogether(withNeeds(name)))) unavailable.push(name);
  const refusedCapabilities: string[][] = [];
  for (const pair of capabilityPairs(names.filter((name) => !unavailable.includes(name)))) {
    if (!(await goTogether(pair))) refusedCapabilities.push(pair);
  }
  return { parameters, capabilities, parameterSets, unavailable, refusedCapabilities };
}

async function attempt(act: () => Promise<unknown>): Promise<QmpError | undefined> {
  try {
    await act();
    return undefined;
  } catch (error) {
    if (error instanceof QmpError) return error;
    throw error;
  }
}

/** The name in an error's text; QEMU sometimes writes it with underscores. */
function namedParameter(error: QmpError, set: Readonly<Record<string, unknown>>): string {
  const text = error.desc.replaceAll('_', '-');
  const named = Object.keys(set).filter((name) => text.includes(`'${name}`));
  if (named.length !== 1) throw new Error(`which of ${Object.keys(set)} is refused: ${error.desc}`);
  return named[0]!;
}
