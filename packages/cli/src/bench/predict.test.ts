import assert from 'node:assert/strict';
import test from 'node:test';
import { predictAll, recommendAll } from './predict.ts';
import type { BenchGuest, BenchMeasurement, BenchTransport } from './report.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** @param rate MiB/s of one thread */
function measurement(codec: string, ratio: number, rate: number, threads = 1): BenchMeasurement {
  const raw = codec === 'none';
  return {
    codec,
    backend: raw ? undefined : 'some',
    level: raw || codec === 'lz4' ? undefined : 1,
    packetPages: 128,
    threads,
    ratio,
    compressBytesPerSecond: rate * MIB * threads,
    decompressBytesPerSecond: 4 * rate * MIB * threads,
    compressBytesPerCpuSecond: rate * MIB,
    decompressBytesPerCpuSecond: 4 * rate * MIB,
    compressCpuSecondsPerGib: 1024 / rate,
    decompressCpuSecondsPerGib: 256 / rate,
    pareto: true,
  };
}

const MEASUREMENTS = [
  measurement('none', 1, 10_000),
  measurement('lz4', 1.6, 500),
  measurement('zlib', 2.2, 100),
  measurement('zstd', 2.1, 300),
  measurement('zstd', 2.1, 300, 4),
];
const GUEST: BenchGuest = {
  bytes: 8 * GIB,
  zeroBytes: 2 * GIB,
  dirtyBytesPerSecond: 16 * MIB,
  workingSetBytes: 8 * GIB,
  downtimeLimitMs: 300,
  sourceCpus: 8,
  destinationCpus: 8,
};
const TRANSPORT: BenchTransport = {
  cpuSecondsPerGib: 1,
  bytesPerSecond: 2 * GIB,
  setupMs: 50,
  switchoverMs: 20,
};

function predict(links: number[], changes: Partial<BenchGuest> = {}) {
  const guest = { ...GUEST, ...changes };
  const basis = { measurements: MEASUREMENTS, guest, transport: TRANSPORT, zeroCpuSecondsPerByte: 0 };
  const predictions = predictAll(basis, links);
  return { predictions, recommendations: recommendAll(MEASUREMENTS, predictions) };
}

test('a prediction for each setting and link, and a recommendation for each link', () => {
  const { predictions, recommendations } = predict([1e9, 1e10, 1e11]);
  assert.equal(predictions.length, 3 * MEASUREMENTS.length);
  assert.deepEqual(
    recommendations.map(({ linkBitsPerSecond }) => linkBitsPerSecond),
    [1e9, 1e10, 1e11],
  );
  const plain = predictions[0]!;
  // 6 GiB at 94 % of a gigabit, and what is dirtied meanwhile.
  const leastMs = ((6 * GIB * 8) / 1e9 / 0.942) * 1000;
  assert.ok(plain.totalTimeMs > leastMs && plain.totalTimeMs < leastMs * 1.3, String(plain.totalTimeMs));
});

test('a slow link wants compression, the cheapest that fills it; a fast one wants none', () => {
  const { recommendations } = predict([1e9, 1e11]);
  const [slow, fast] = recommendations.map(({ measurement }) => MEASUREMENTS[measurement]!);
  // zlib saves most, but not at that speed; four threads of zstd are not faster than the link either.
  assert.equal(slow!.codec, 'zstd');
  assert.equal(slow!.threads, 1);
  assert.equal(fast!.codec, 'none');
  const [one, other] = recommendations.map(({ reason }) => reason);
  assert.match(one!, /^zstd 1, 1 thread \(ratio 2\.10\).*held back by the link.*without compression .*\.$/);
  assert.match(other!, /^none, 1 thread .*the source\.$/);
});

test('lz4 is for two pageferrys: what to take with a QEMU is said', () => {
  const { recommendations } = predict([3e9], { sourceCpus: 1, destinationCpus: 1 });
  const { measurement, reason } = recommendations[0]!;
  assert.equal(MEASUREMENTS[measurement]!.codec, 'lz4');
  assert.match(reason, /\(between two pageferrys; with a QEMU none, 1 thread: /);
  const lz4Only = recommendAll(
    MEASUREMENTS,
    predict([1e9]).predictions.filter(({ measurement }) => MEASUREMENTS[measurement]!.codec === 'lz4'),
  );
  assert.match(lz4Only[0]!.reason, /only between two pageferrys/);
});

test('what converges is taken, and when nothing does that is said', () => {
  const busy = predict([1e9], { dirtyBytesPerSecond: 180 * MIB }).recommendations[0]!;
  assert.equal(MEASUREMENTS[busy.measurement]!.codec, 'zstd');
  assert.match(busy.reason, /without compression it does not converge/);
  const hopeless = predict([1e9], { dirtyBytesPerSecond: 10 * GIB }).recommendations[0]!;
  assert.match(hopeless.reason, /^nothing converges at this dirty rate; with zstd 1, .* stop .*\.$/);
});

test('without a measured transport there is a prediction all the same', () => {
  const basis = { measurements: MEASUREMENTS, guest: GUEST, transport: undefined, zeroCpuSecondsPerByte: 0 };
  const [plain] = predictAll(basis, [1e9]);
  assert.equal(plain!.converges, true);
  assert.ok(plain!.totalTimeMs > 0);
});
