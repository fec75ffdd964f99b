/**
 * How exactly max-bandwidth is kept: one migration for each way that pages travel, over loopback to a second process,
 * with the limit changed while it runs.
 *
 *   node --conditions=pageferry-src bench/bandwidth.ts [--limits 50,200,800] [--seconds 4] [--memory 512]
 *     [--ways plain,2,4] [--json]
 *
 * Limits are in MB/s (10^6 bytes), 0 is unlimited; it comes last by itself, to show what the machine carries now.
 * Ways are `plain` or a number of multifd channels. The guest dirties all of its memory all the time, so that there is
 * always something to send. Measured is what went over all channels between two reports of the coordinator.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { MigrateOptions, Progress } from '@pageferry/core/control';
import { migrate, receive } from '@pageferry/workers';
import { BusyGuest } from '../packages/core/src/testing/busy-guest.ts';
import { TestTarget } from '../packages/core/src/testing/test-guests.ts';

const { values } = parseArgs({
  options: {
    limits: { type: 'string', default: '50,200,800' },
    seconds: { type: 'string', default: '4' },
    memory: { type: 'string', default: '512' },
    ways: { type: 'string', default: 'plain,2,4' },
    json: { type: 'boolean', default: false },
    destination: { type: 'string' },
  },
});

/** What was sent before a change of the limit is over by then. */
const SETTLE_MS = 500;
const SAMPLE_MS = 500;
const MB = 1_000_000;

interface Row {
  way: string;
  limit: string;
  'MB/s': number;
  'off by': string;
  'in 0.5 s': string;
  'channel shares': string;
}

async function measureAll(): Promise<void> {
  const limits = values.limits.split(',').map(Number);
  const rows: Row[] = [];
  for (const way of values.ways.split(',')) rows.push(...(await measure(way, [...limits, limits[0]!, 0])));
  if (values.json) for (const row of rows) console.log(JSON.stringify(row));
  else console.table(rows);
}

/** One migration, that never ends by itself. */
async function measure(way: string, limits: readonly number[]): Promise<Row[]> {
  const options: MigrateOptions = {
    ...(way !== 'plain' && { multifd: true, multifdChannels: Number(way) }),
    maxBandwidthBytesPerSecond: limits[0]! * MB,
    downtimeLimitMs: 0,
  };
  const { multifd, multifdChannels } = options;
  const child = fork(import.meta.filename, ['--destination', JSON.stringify({ multifd, multifdChannels })]);
  const uri = await messageOf(child);
  const guest = new BusyGuest(Number(values.memory) * 2 ** 20);
  const migration = migrate(guest, uri, options);
  const rows: Row[] = [];
  try {
    while (migration.status !== 'active') await delay(10);
    for (const limit of limits) {
      await migration.setParameters({ maxBandwidthBytesPerSecond: limit * MB });
      await delay(SETTLE_MS);
      const samples = [await migration.query()];
      for (let ms = 0; ms < Number(values.seconds) * 1000; ms += SAMPLE_MS) {
        await delay(SAMPLE_MS);
        samples.push(await migration.query());
      }
      rows.push(rowOf(way, limit, samples));
    }
  } finally {
    guest.close();
    migration.cancel();
    await migration.result.catch(() => {});
    child.kill('SIGKILL');
  }
  return rows;
}

function rowOf(way: string, limit: number, samples: readonly Progress[]): Row {
  const first = samples[0]!;
  const last = samples.at(-1)!;
  const rate = mbPerSecond(first, last);
  const each = samples.slice(1).map((sample, i) => mbPerSecond(samples[i]!, sample));
  const sent = last.channels.map(({ bytes }, channel) => bytes - first.channels[channel]!.bytes);
  const all = sent.reduce((sum, bytes) => sum + bytes, 0);
  return {
    way: way === 'plain' ? way : `multifd ${way}`,
    limit: limit === 0 ? 'none' : `${limit} MB/s`,
    'MB/s': round(rate),
    'off by': limit === 0 ? '' : `${round((100 * (rate - limit)) / limit)} %`,
    'in 0.5 s': `${round(Math.min(...each))} to ${round(Math.max(...each))}`,
    'channel shares': sent.map((bytes) => `${Math.round((100 * bytes) / all)} %`).join(' '),
  };
}

function mbPerSecond(from: Progress, to: Progress): number {
  return (to.ram.transferred - from.ram.transferred) / MB / ((to.elapsedMs - from.elapsedMs) / 1000);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** The second process: takes the pages in until it is killed. */
async function destination(options: { multifd?: boolean; multifdChannels?: number }): Promise<void> {
  const reception = receive('tcp:127.0.0.1:0', { ...options, guest: new TestTarget() });
  reception.result.catch(() => {});
  process.on('disconnect', () => process.exit());
  process.send!(await reception.listening);
}

function messageOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(String(message)));
    child.once('exit', (code) => reject(new Error(`the destination ended with ${code}`)));
  });
}

if (values.destination === undefined) await measureAll();
else await destination(JSON.parse(values.destination));
