import assert from 'node:assert/strict';
import test from 'node:test';
import { dirtiedBytes, type ForecastInput, forecast } from './forecast.ts';
import { type Hosts, moveSeconds, type PageCosts, wireBytes } from './rates.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** CPUs that are never the limit, a wire that costs nothing. */
const HOSTS: Hosts = {
  sourceCpus: 1000,
  destinationCpus: 1000,
  shared: false,
  busyCpus: 0,
  sendCpuSecondsPerByte: 0,
  receiveCpuSecondsPerByte: 0,
  zeroCpuSecondsPerByte: 0,
};
const RAW: PageCosts = {
  ratio: 1,
  compressCpuSecondsPerByte: 0,
  decompressCpuSecondsPerByte: 0,
  packetPages: 128,
  threads: 2,
};
/** 200 MiB/s per CPU, and 800 MiB/s back. */
const ZSTD: PageCosts = {
  ...RAW,
  ratio: 2,
  compressCpuSecondsPerByte: 1 / (200 * MIB),
  decompressCpuSecondsPerByte: 1 / (800 * MIB),
};
const IDLE = { nonZeroBytes: GIB, zeroBytes: 0, dirtyBytesPerSecond: 0, workingSetBytes: GIB };

function input(changes: Partial<ForecastInput>): ForecastInput {
  return {
    guest: IDLE,
    costs: RAW,
    hosts: HOSTS,
    link: { bytesPerSecond: 100 * MIB },
    downtimeLimitMs: 300,
    setupMs: 0,
    switchoverMs: 0,
    ...changes,
  };
}

function near(found: number, expected: number, share = 0.01): void {
  assert.ok(Math.abs(found / expected - 1) <= share, `${found} is not near ${expected}`);
}

test('an idle guest takes its bytes at the speed of the link, headers included', () => {
  const { totalTimeMs, downtimeMs, passes, converges, transferredBytes, limitedBy } = forecast(input({}));
  assert.equal(converges, true);
  assert.equal(limitedBy, 'link');
  // All of RAM, what seemed to fit already, and the look with the guest stopped.
  assert.equal(passes, 4);
  near(transferredBytes, GIB * (1 + 1344 / (128 * 4096)), 1e-9);
  near(totalTimeMs, (transferredBytes / (100 * MIB)) * 1000, 0.001);
  // Nothing is left to send when the guest stops.
  assert.equal(downtimeMs, 0);
});

test('set-up and switch-over are added, and the switch-over counts as downtime', () => {
  const before = forecast(input({}));
  const after = forecast(input({ setupMs: 70, switchoverMs: 40 }));
  near(after.totalTimeMs, before.totalTimeMs + 110, 1e-9);
  near(after.downtimeMs, before.downtimeMs + 40, 1e-9);
});

test('zero pages cost their places in headers only', () => {
  const load = { nonZeroBytes: 0, zeroBytes: 128 * 4096 * 10 };
  assert.equal(wireBytes(RAW, load), 13_440);
  near(moveSeconds(RAW, HOSTS, 13_440, load).seconds, 1, 1e-9);
  const guest = { ...IDLE, nonZeroBytes: GIB / 2, zeroBytes: GIB / 2 };
  const half = forecast(input({ guest }));
  near(half.totalTimeMs, forecast(input({})).totalTimeMs / 2, 0.01);
});

test('a guest that dirties slower than the link carries converges, the slower the sooner', () => {
  const totals = [10, 30, 50, 70].map((rate) => {
    const guest = { ...IDLE, dirtyBytesPerSecond: rate * MIB };
    const result = forecast(input({ guest }));
    assert.equal(result.converges, true, `${rate}`);
    assert.ok(result.downtimeMs <= 301, `${rate}: ${result.downtimeMs}`);
    assert.ok(result.passes > 3, `${rate}`);
    return result.totalTimeMs;
  });
  assert.deepEqual(
    totals,
    totals.toSorted((a, b) => a - b),
  );
  // Every pass moves half of the pass before: twice the bytes in all, less what is dirtied twice in a pass.
  near(totals[2]!, 2 * forecast(input({})).totalTimeMs, 0.2);
});

test('a guest that dirties slowly stands still for a part of the limit only', () => {
  const downtimeOf = (rate: number) => {
    return forecast(input({ guest: { ...IDLE, dirtyBytesPerSecond: rate * MIB } })).downtimeMs;
  };
  assert.ok(downtimeOf(10) < 10, String(downtimeOf(10)));
  // From half of the speed on, the guest is stopped as soon as the rest fits.
  assert.ok(downtimeOf(60) > 200, String(downtimeOf(60)));
});

test('a guest that dirties faster than everything carries never converges, and its stop is told', () => {
  const guest = { ...IDLE, dirtyBytesPerSecond: 500 * MIB };
  const { converges, limitedBy, downtimeMs, totalTimeMs } = forecast(input({ guest }));
  assert.equal(converges, false);
  assert.equal(limitedBy, 'dirty-rate');
  // Nearly all of the gigabyte is dirty whenever one looks.
  near(downtimeMs, 10_240, 0.05);
  assert.ok(totalTimeMs > downtimeMs && Number.isFinite(totalTimeMs));
});

test('a working set that fits into the downtime converges, however fast it is written', () => {
  const guest = { ...IDLE, dirtyBytesPerSecond: 5000 * MIB, workingSetBytes: 20 * MIB };
  const { converges, passes } = forecast(input({ guest }));
  assert.equal(converges, true);
  assert.ok(passes <= 6, String(passes));
  const larger = { ...guest, workingSetBytes: 40 * MIB };
  assert.equal(forecast(input({ guest: larger })).converges, false);
});

test('compression lifts the dirty rate that a link can bear', () => {
  const guest = { ...IDLE, dirtyBytesPerSecond: 130 * MIB };
  assert.equal(forecast(input({ guest })).converges, false);
  assert.equal(forecast(input({ guest, costs: ZSTD })).converges, true);
});

test('no downtime at all is possible for an idle guest only', () => {
  assert.equal(forecast(input({ downtimeLimitMs: 0 })).converges, true);
  const guest = { ...IDLE, dirtyBytesPerSecond: MIB };
  assert.equal(forecast(input({ downtimeLimitMs: 0, guest })).converges, false);
});

test('a guest without memory takes no time', () => {
  const guest = { nonZeroBytes: 0, zeroBytes: 0, dirtyBytesPerSecond: 0, workingSetBytes: 0 };
  const { totalTimeMs, converges, transferredBytes } = forecast(input({ guest }));
  assert.equal(converges, true);
  assert.equal(transferredBytes, 0);
  assert.ok(totalTimeMs < 5, String(totalTimeMs));
});

test('the narrow place is found: link, compression, decompression', () => {
  const cases: [number, Partial<Hosts>, string, number][] = [
    [10 * MIB, {}, 'link', GIB / 2 / (10 * MIB)],
    [GIB, {}, 'compress', GIB / (400 * MIB)],
    [GIB, { sourceCpus: 1 }, 'compress', GIB / (200 * MIB)],
    [GIB, { sourceCpus: 2, busyCpus: 1.5 }, 'compress', GIB / (100 * MIB)],
  ];
  for (const [link, hosts, limitedBy, seconds] of cases) {
    const found = moveSeconds(ZSTD, { ...HOSTS, ...hosts }, link, IDLE);
    assert.equal(found.limitedBy, limitedBy);
    near(found.seconds, seconds);
  }
  const slowBack = { ...ZSTD, decompressCpuSecondsPerByte: 1 / (50 * MIB) };
  const found = moveSeconds(slowBack, HOSTS, GIB, IDLE);
  assert.equal(found.limitedBy, 'decompress');
  near(found.seconds, GIB / (100 * MIB));
});

test('two sides on one machine share its CPUs', () => {
  const apart = moveSeconds(ZSTD, { ...HOSTS, sourceCpus: 2, destinationCpus: 2 }, GIB, IDLE);
  const together = moveSeconds(ZSTD, { ...HOSTS, sourceCpus: 2, shared: true }, GIB, IDLE);
  near(apart.seconds, GIB / (400 * MIB));
  // 1/200 and 1/800 CPU seconds per MiB on two CPUs.
  near(together.seconds, 1024 * (1 / 200 + 1 / 800) * 0.5);
});

test('a backend that uses more CPUs than it has channels is not held to them', () => {
  const one = { ...ZSTD, threads: 1 };
  const slow = moveSeconds(one, HOSTS, GIB, IDLE).seconds;
  const fast = moveSeconds({ ...one, compressCpus: 3 }, HOSTS, GIB, IDLE).seconds;
  near(slow / fast, 3);
  near(moveSeconds({ ...one, compressCpus: 3 }, { ...HOSTS, sourceCpus: 2 }, GIB, IDLE).seconds, slow / 2);
});

test('a link that is limited for the passes only makes the downtime shorter', () => {
  const guest = { ...IDLE, dirtyBytesPerSecond: 60 * MIB };
  const limited = forecast(input({ guest }));
  const free = forecast(input({ guest, link: { bytesPerSecond: 100 * MIB, switchoverBytesPerSecond: GIB } }));
  near(free.downtimeMs, limited.downtimeMs / 10.24);
});

test('distinct dirty bytes: all writes at first, the whole working set at last', () => {
  const guest = { dirtyBytesPerSecond: 100 * MIB, workingSetBytes: GIB };
  assert.equal(dirtiedBytes(guest, 0), 0);
  near(dirtiedBytes(guest, 0.1), 10 * MIB);
  near(dirtiedBytes(guest, 1000), GIB);
  assert.equal(dirtiedBytes({ dirtyBytesPerSecond: 0, workingSetBytes: GIB }, 1000), 0);
});
