import {
  forecast,
  type Hosts,
  type PageCosts,
  type Recommendation,
  recommend,
} from '@pageferry/core/forecast';
import { formatTime } from '../format.ts';
import { settingName } from './names.ts';
import type {
  BenchGuest,
  BenchMeasurement,
  BenchPrediction,
  BenchRecommendation,
  BenchTransport,
} from './report.ts';

const GIB = 2 ** 30;

/** Of a link's bits this share carries the stream: Ethernet frames of 1538 bytes on the wire with 1448 of TCP's. */
const LINK_SHARE = 1448 / 1538;

/** What predictions are made of. */
export interface PredictionBasis {
  readonly measurements: readonly BenchMeasurement[];
  readonly guest: BenchGuest;
  readonly transport: BenchTransport | undefined;
  readonly zeroCpuSecondsPerByte: number;
}

/** Each measurement at each link speed: all of one speed, then the next. */
export function predictAll(basis: PredictionBasis, links: readonly number[]): BenchPrediction[] {
  return links.flatMap((link) => basis.measurements.map((_, index) => predict(basis, index, link)));
}

function predict(basis: PredictionBasis, measurement: number, linkBitsPerSecond: number): BenchPrediction {
  const { guest, transport, zeroCpuSecondsPerByte } = basis;
  // Who sends and who receives a byte has about the same work.
  const wireCpuSecondsPerByte = (transport?.cpuSecondsPerGib ?? 0) / GIB / 2;
  const hosts: Hosts = {
    sourceCpus: guest.sourceCpus,
    destinationCpus: guest.destinationCpus,
    shared: false,
    busyCpus: 0,
    sendCpuSecondsPerByte: wireCpuSecondsPerByte,
    receiveCpuSecondsPerByte: wireCpuSecondsPerByte,
    zeroCpuSecondsPerByte,
  };
  const predicted = forecast({
    guest: { ...guest, nonZeroBytes: guest.bytes - guest.zeroBytes },
    costs: pageCosts(basis.measurements[measurement]!),
    hosts,
    link: { bytesPerSecond: (linkBitsPerSecond / 8) * LINK_SHARE },
    downtimeLimitMs: guest.downtimeLimitMs,
    setupMs: transport?.setupMs ?? 0,
    switchoverMs: transport?.switchoverMs ?? 0,
  });
  return {
    measurement,
    linkBitsPerSecond,
    dirtyBytesPerSecond: guest.dirtyBytesPerSecond,
    ...predicted,
    transferredBytes: Math.round(predicted.transferredBytes),
  };
}

/** A measurement as the forecast takes it. */
function pageCosts(one: BenchMeasurement): PageCosts {
  const { ratio, packetPages, threads } = one;
  // Uncompressed pages go from and to RAM as they are; the kernel's copies are counted with the wire.
  const raw = one.codec === 'none';
  const busyCpus = (one.compressBytesPerSecond * one.compressCpuSecondsPerGib) / GIB;
  return {
    ratio,
    packetPages,
    threads,
    compressCpuSecondsPerByte: raw ? 0 : one.compressCpuSecondsPerGib / GIB,
    decompressCpuSecondsPerByte: raw ? 0 : one.decompressCpuSecondsPerGib / GIB,
    // Some backends keep more CPUs busy than there are channels.
    compressCpus: Math.max(threads, busyCpus),
  };
}

/** The setting to take at each link speed, with the reason. */
export function recommendAll(
  measurements: readonly BenchMeasurement[],
  predictions: readonly BenchPrediction[],
): BenchRecommendation[] {
  const links = [...new Set(predictions.map((one) => one.linkBitsPerSecond))].sort((a, b) => a - b);
  return links.flatMap((link) => {
    const here = predictions.filter((one) => one.linkBitsPerSecond === link);
    const chosen = choose(measurements, here);
    if (chosen === undefined) return [];
    const reason = explain(measurements, here, chosen);
    return [{ linkBitsPerSecond: link, measurement: here[chosen.index]!.measurement, reason }];
  });
}

function choose(
  measurements: readonly BenchMeasurement[],
  here: readonly BenchPrediction[],
): Recommendation | undefined {
  return recommend(
    here.map((one) => {
      const costs = measurements[one.measurement]!;
      return {
        forecast: one,
        cpuSeconds: costs.compressCpuSecondsPerGib + costs.decompressCpuSecondsPerGib,
        threads: costs.threads,
      };
    }),
  );
}

const HELD_BACK: Readonly<Record<Exclude<BenchPrediction['limitedBy'], 'dirty-rate'>, string>> = {
  link: 'the link',
  compress: 'the source',
  decompress: 'the destination',
};

/** One sentence. */
function explain(
  measurements: readonly BenchMeasurement[],
  here: readonly BenchPrediction[],
  { index, why }: Recommendation,
): string {
  const one = here[index]!;
  const measurement = measurements[one.measurement]!;
  const ratio = measurement.codec === 'none' ? '' : ` (ratio ${measurement.ratio.toFixed(2)})`;
  const name = `${settingName(measurement, measurements)}${ratio}`;
  const total = formatTime(one.totalTimeMs);
  const qemu = withQemu(measurements, here, measurement);
  if (one.limitedBy === 'dirty-rate' || why === 'least-downtime') {
    const stop = formatTime(one.downtimeMs);
    return `nothing converges at this dirty rate; with ${name} the guest would have to stop for the shortest time, ${stop}${qemu}.`;
  }
  const narrow = HELD_BACK[one.limitedBy];
  if (why === 'only')
    return `nothing but ${name} converges at this dirty rate: ${total}, held back by ${narrow}${qemu}.`;
  const plain = uncompressed(measurements, here, measurement);
  if (why === 'fastest') {
    return `${name} is the fastest with ${total}, held back by ${narrow}${plain}${qemu}.`;
  }
  return `${name} takes ${total}, held back by ${narrow}; what is as fast costs more CPU time or threads${plain}${qemu}.`;
}

/** What it would take without compression, as an addition to a sentence. */
function uncompressed(
  measurements: readonly BenchMeasurement[],
  here: readonly BenchPrediction[],
  chosen: BenchMeasurement,
): string {
  if (chosen.codec === 'none') return '';
  const plain = here.filter((one) => measurements[one.measurement]!.codec === 'none');
  if (plain.length === 0) return '';
  const best = plain.filter(({ converges }) => converges).sort((a, b) => a.totalTimeMs - b.totalTimeMs)[0];
  return best === undefined
    ? '; without compression it does not converge'
    : `; without compression ${formatTime(best.totalTimeMs)}`;
}

/** What to take with a QEMU at the other end, where it does not know the chosen method. */
function withQemu(
  measurements: readonly BenchMeasurement[],
  here: readonly BenchPrediction[],
  chosen: BenchMeasurement,
): string {
  if (chosen.codec !== 'lz4') return '';
  const known = here.filter((one) => measurements[one.measurement]!.codec !== 'lz4');
  const other = choose(measurements, known);
  if (other === undefined) return ' (only between two pageferrys)';
  const best = known[other.index]!;
  const name = settingName(measurements[best.measurement]!, measurements);
  return ` (between two pageferrys; with a QEMU ${name}: ${formatTime(best.totalTimeMs)})`;
}
