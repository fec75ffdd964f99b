import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { QmpClient } from '@pageferry/core/qmp';
import type { QemuVersion } from './find-qemus.ts';
import { Qemu } from './qemu.ts';

/**
 * What a QEMU's monitor for people shows and takes, beside the QMP answers of the same moment. Recorded in
 * `test/fixtures/hmp/<version>.json` by `scripts/record-hmp.ts`.
 */
export interface HmpAnswers {
  /** `info migrate` beside query-migrate. */
  readonly migrations: readonly { readonly when: string; readonly info: Info; readonly text: string }[];
  /** `info migrate_parameters` and `info migrate_capabilities` beside the queries. */
  readonly parameters: { readonly parameters: Info; readonly text: string };
  readonly capabilities: {
    readonly capabilities: { capability: string; state: boolean }[];
    readonly text: string;
  };
  /** `migrate_set_parameter NAME TEXT`, and the value that it led to; null: refused. */
  readonly values: readonly { readonly name: string; readonly text: string; readonly value: unknown }[];
}

type Info = Readonly<Record<string, unknown>>;

export function recordedHmp(version: QemuVersion): HmpAnswers {
  return JSON.parse(readFileSync(hmpFile(version), 'utf8')) as HmpAnswers;
}

export function hmpFile(version: QemuVersion): string {
  return fileURLToPath(new URL(`../fixtures/hmp/${version}.json`, import.meta.url));
}

const VALUES: Record<string, readonly string[]> = {
  'max-bandwidth': ['5', '5k', '5K', '1.5', '1.5G', '0x10', '10B', '2T', 'x', '-1', '"7"', '"3M"'],
  'avail-switchover-bandwidth': ['5', '5M', '-1'],
  'max-postcopy-bandwidth': ['5', '5M', '1.5k'],
  'xbzrle-cache-size': ['8388608', '16M', '0x400000', '3M', '1.5'],
  'downtime-limit': ['500', '0x10', '1k', '1s', '-1'],
  'announce-initial': ['60', '1k', '1M'],
  'announce-step': ['0', '9'],
  'multifd-channels': ['3', '0x10', '300', '3M', '-1', '1.5'],
  'cpu-throttle-initial': ['30', '0'],
  'max-cpu-throttle': ['19', '90'],
  'x-checkpoint-delay': ['100', '1k', '4294967296'],
  'multifd-compression': ['zlib', 'foo'],
  // 7.2 takes a level and does nothing with it.
  'multifd-zlib-level': ['256'],
  'cpu-throttle-tailslow': ['on', 'true', 'yes', 'y', 'off', 'false', 'no', 'n', '1', 'maybe'],
  'tls-creds': ['abc', '"a b"', '"a\\"b"', '""'],
  'vcpu-dirty-limit': ['7', '1k', '0'],
  'x-vcpu-dirty-limit-period': ['7', '2k'],
  'zero-page-detection': ['legacy', 'foo'],
  mode: ['cpr-reboot', 'foo'],
  'direct-io': ['on', 'x'],
  'block-bitmap-mapping': ['x'],
  'compress-level': ['3', '10'],
  'block-incremental': ['on'],
  'no-such': ['1'],
};

/** Asks QEMUs of that version, which it starts. */
export async function askHmp(version: QemuVersion): Promise<HmpAnswers> {
  await using fresh = await Qemu.start({ version, paused: true });
  const migrations = [await sample(fresh.qmp, 'no migration'), ...(await moves(version))];
  const values = [];
  for (const [name, texts] of Object.entries(VALUES)) {
    for (const text of texts) values.push({ name, text, value: await setValue(fresh.qmp, name, text) });
  }
  return {
    migrations,
    parameters: {
      parameters: (await fresh.qmp.execute('query-migrate-parameters')) as unknown as Info,
      text: await hmp(fresh.qmp, 'info migrate_parameters'),
    },
    capabilities: {
      capabilities: await fresh.qmp.execute('query-migrate-capabilities'),
      text: await hmp(fresh.qmp, 'info migrate_capabilities'),
    },
    values,
  };
}

async function moves(version: QemuVersion): Promise<Sample[]> {
  const samples: Sample[] = [];
  const take = async (qemu: Qemu, when: string) => samples.push(await sample(qemu.qmp, when));
  {
    await using source = await Qemu.start({ version });
    await using destination = await Qemu.start({ version, incoming: 'defer' });
    await source.setCapabilities({ 'auto-converge': true });
    await source.setParameters({
      'max-bandwidth': 4 << 20,
      'downtime-limit': 1,
      'throttle-trigger-threshold': 1,
    });
    const uri = await destination.listen('tcp:127.0.0.1:0');
    await take(destination, 'a destination listens');
    await source.migrate(uri);
    await until(source, (info) => info['cpu-throttle-percentage'] !== undefined);
    await source.setParameters({ 'max-bandwidth': 1 });
    await take(source, 'active, throttled');
    await take(destination, 'a destination is active');
    await source.qmp.execute('migrate_cancel');
    await until(source, ({ status }) => status === 'cancelled');
    await take(source, 'cancelled');
    await source.migrate('tcp:127.0.0.1:1');
    await until(source, ({ status }) => status === 'failed');
    await take(source, 'failed');
  }
  const capabilities: Record<string, boolean>[] = [{ multifd: true, 'return-path': true }, { xbzrle: true }];
  if (version === '7.2') capabilities.push({ compress: true });
  for (const some of capabilities) {
    const names = Object.keys(some).join(', ');
    await using source = await Qemu.start({ version });
    await using destination = await Qemu.start({ version, incoming: 'defer' });
    await destination.setCapabilities(some);
    await source.setCapabilities({ ...some, 'pause-before-switchover': true });
    await source.migrate(await destination.listen(`unix:${destination.folder}/migrate`));
    await until(source, ({ status }) => status === 'pre-switchover');
    await take(source, `pre-switchover, with ${names}`);
    await take(destination, `a destination before the switch-over, with ${names}`);
    await source.qmp.execute('migrate-continue', { state: 'pre-switchover' });
    await until(source, ({ status }) => status === 'completed');
    await take(source, `completed, with ${names}`);
    await destination.waitRunning();
    await take(destination, `a destination has completed, with ${names}`);
  }
  return samples;
}

type Sample = HmpAnswers['migrations'][number];

/** Both answers of one moment: what is asked again afterwards must not have changed, but for the running time. */
async function sample(qmp: QmpClient, when: string): Promise<Sample> {
  const ask = async () => {
    const { 'total-time': _, ...rest } = (await qmp.execute('query-migrate')) as unknown as Info;
    return rest;
  };
  for (let attempts = 0; attempts < 500; attempts++) {
    const rest = await ask();
    const text = await hmp(qmp, 'info migrate');
    if (JSON.stringify(rest) !== JSON.stringify(await ask())) continue;
    const time = /total time: ([1-9]\d*)/.exec(text)?.[1];
    return { when, info: time === undefined ? rest : { ...rest, 'total-time': Number(time) }, text };
  }
  throw new Error(`${when}: it never stands still`);
}

async function setValue(qmp: QmpClient, name: string, text: string): Promise<unknown> {
  const value = async () => {
    const parameters = (await qmp.execute('query-migrate-parameters')) as unknown as Record<string, unknown>;
    return parameters[name];
  };
  const usual = await value();
  const said = await hmp(qmp, `migrate_set_parameter ${name} ${text}`);
  const set = await value();
  if (usual !== undefined) await qmp.execute('migrate-set-parameters', { [name]: usual });
  return said === '' ? set : null;
}

async function until(qemu: Qemu, reached: (info: Info) => boolean): Promise<void> {
  for (const deadline = performance.now() + 30_000; ; await sleep(5)) {
    const info = (await qemu.qmp.execute('query-migrate')) as unknown as Info;
    if (reached(info)) return;
    if (performance.now() > deadline) throw new Error(`still ${JSON.stringify(info)}`);
  }
}

function hmp(qmp: QmpClient, line: string): Promise<string> {
  return qmp.execute('human-monitor-command', { 'command-line': line });
}
