import assert from 'node:assert/strict';
import test from 'node:test';
import { emptyRamStats, type Progress, type RamStats } from '@pageferry/core/control';
import { progressLine } from './progress-line.ts';
import { type Throughput, ThroughputMeter } from './throughput.ts';

const MIB = 2 ** 20;

function report(ram: Partial<RamStats>, more: Partial<Progress> = {}): Progress {
  const start = { ...emptyRamStats(), total: 512 * MIB, 'dirty-sync-count': 1 };
  return { status: 'active', role: 'source', elapsedMs: 0, channels: [], ram: { ...start, ...ram }, ...more };
}

const channel = (id: number, bytes: number) => ({
  channel: id,
  bytes,
  packets: 0,
  normalPages: 0,
  zeroPages: 0,
  stalledMs: 0,
});

const full = report(
  { remaining: 120 * MIB, 'dirty-sync-count': 3, 'dirty-pages-rate': 16_384 },
  { expectedDowntimeMs: 120, etaMs: 2000 },
);
const throughput: Throughput = { total: 600 * MIB, channels: [290 * MIB, 310 * MIB] };

test('the line shows pass, rest, dirty rate, throughput, downtime and the time left', () => {
  assert.equal(
    progressLine(full, throughput),
    'pass 3  120 MiB of 512 MiB left  dirty 64.0 MiB/s  600 MiB/s  (290 + 310)  downtime ~120 ms  ETA 2.0 s',
  );
});

test('what slows the guest down is told', () => {
  const line = (more: Partial<Progress>) => progressLine({ ...full, ...more }, throughput);
  assert.match(line({ cpuThrottlePercentage: 30 }), /dirty 64\.0 MiB\/s {2}throttled 30 % {2}600 MiB/);
  assert.match(line({ dirtyLimitRingFullTimeUs: 5 }), / vCPUs limited /);
});

test('a narrow terminal loses the least interesting parts, and never more than it must', () => {
  assert.equal(
    progressLine(full, throughput, 90),
    'pass 3  120 MiB of 512 MiB left  dirty 64.0 MiB/s  600 MiB/s  downtime ~120 ms  ETA 2.0 s',
  );
  assert.equal(progressLine(full, throughput, 40), 'pass 3  120 MiB of 512 MiB left');
  for (let width = 1; width < 110; width++) {
    const line = progressLine(full, throughput, width);
    assert.ok(line.length <= width && line.startsWith('pass 3'.slice(0, width)), `width ${width}: ${line}`);
  }
});

test('no estimate is not an estimate of zero', () => {
  const line = progressLine(report({ remaining: MIB }), { total: 0, channels: [] });
  assert.match(line, /ETA unknown$/);
  assert.doesNotMatch(line, /downtime/);
});

test('outside the passes the state is shown', () => {
  const device = progressLine({ ...full, status: 'device' }, throughput);
  assert.match(device, /^device {2}120 MiB/);
  assert.doesNotMatch(device, /ETA|downtime/);
  assert.equal(progressLine(report({ total: 0 }, { status: 'setup' }), throughput), 'setup');
});

test('many channels are summed up', () => {
  const channels = Array.from({ length: 16 }, (_, i) => (10 + i) * MIB);
  assert.match(progressLine(full, { total: 280 * MIB, channels }), /\(16 channels, 10 to 25 MiB\/s\)/);
});

test('a destination shows what came in', () => {
  const incoming = report({ transferred: 10 * MIB, 'dirty-sync-count': 0 }, { role: 'destination' });
  assert.equal(
    progressLine(incoming, { total: 5 * MIB, channels: [] }),
    'active  10.0 MiB received for 512 MiB of RAM  5.00 MiB/s',
  );
});

test('throughput is measured over the last second, per channel and in total', () => {
  const meter = new ThroughputMeter();
  const at = (elapsedMs: number, transferred: number, ...bytes: number[]) =>
    meter.next(report({ transferred }, { elapsedMs, channels: bytes.map((b, i) => channel(i, b)) }));
  assert.deepEqual(at(0, 0), { total: 0, channels: [] });
  assert.deepEqual(at(500, 1000, 400, 600), { total: 2000, channels: [800, 1200] });
  for (let ms = 600; ms <= 3000; ms += 100) at(ms, 1000, 400, 600);
  assert.deepEqual(at(3100, 1000, 400, 600), { total: 0, channels: [0, 0] });
  assert.equal(at(3600, 2000, 400, 600).total, 1000);
});
