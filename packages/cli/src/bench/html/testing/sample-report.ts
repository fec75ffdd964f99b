import type { BenchMeasurement, BenchPrediction, BenchRegion, BenchReport } from '../../report.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** codec, backend, level, ratio, compress and decompress MiB per CPU second: as measured in docs/codecs.md. */
type Row = readonly [string, string | undefined, number | undefined, number, number, number, boolean];
const ROWS: readonly Row[] = [
  ['none', undefined, undefined, 1, 3280, 4100, true],
  ['lz4', 'lz4-napi', undefined, 1.63, 432, 2316, true],
  ['zlib', 'minizlib', 1, 2.05, 101, 551, false],
  ['zlib', 'minizlib', 6, 2.21, 36, 586, false],
  ['zlib', 'minizlib', 9, 2.22, 18, 579, false],
  ['zlib', 'pako', 1, 2.06, 35, 153, false],
  ['zlib', 'pako', 6, 2.23, 16, 155, false],
  ['zstd', 'minizlib', 1, 2.06, 339, 1113, true],
  ['zstd', 'minizlib', 3, 2.33, 194, 1017, true],
  ['zstd', 'minizlib', 9, 2.5, 41, 846, true],
  ['zstd', 'minizlib', 19, 2.74, 2.1, 627, true],
  ['zstd', 'mongodb-zstd', 1, 2.01, 290, 1138, false],
  ['zstd', 'mongodb-zstd', 3, 2.25, 193, 1087, false],
  ['zstd', 'mongodb-zstd', 9, 2.34, 51, 1086, true],
];

/** A report with realistic figures, for tests and to look at. The same at each call. */
export function sampleReport(): BenchReport {
  const measurements = [
    ...ROWS.map((row) => measurementOf(row, 2, 128)),
    ...ROWS.map((row) => measurementOf(row, 1, 128)),
    ...ROWS.filter(([, backend]) => backend !== 'pako').map((row) => measurementOf(row, 2, 32)),
  ];
  const links = [1e9, 10e9, 25e9, 100e9];
  const predictions = links.flatMap((link) => measurements.map((one, index) => predict(one, index, link)));
  const recommendations = links.map((link) => {
    const best = predictions
      .filter((one) => one.linkBitsPerSecond === link && measurements[one.measurement]!.packetPages === 128)
      .sort((a, b) => Number(b.converges) - Number(a.converges) || a.totalTimeMs - b.totalTimeMs)[0]!;
    return {
      linkBitsPerSecond: link,
      measurement: best.measurement,
      reason: `Shortest total time of those that converge within 300 ms of downtime; what holds it back is the ${best.limitedBy === 'compress' ? 'compression' : best.limitedBy}.`,
    };
  });
  return {
    formatVersion: 1,
    createdAt: '2025-11-23T03:12:45.000Z',
    pageferryVersion: '0.1.0',
    machine: {
      cpuModel: 'AMD EPYC 7B13',
      cpus: 2,
      memoryBytes: 24 * GIB,
      kernel: 'Linux 6.18.5',
      nodeVersion: 'v24.21.0',
      libraries: { zlib: '1.3.2.1-motley', zstd: '1.5.7', 'lz4-napi': '2.9.0' },
      memoryCopyBytesPerSecond: 9.4 * GIB,
    },
    input: {
      kind: 'capture',
      name: 'web-frontend-03.img',
      bytes: 4 * GIB + 18 * MIB,
      pages: 1_053_184,
      zeroPages: 329_700,
      scannedPages: 1_053_184,
      sampledPages: 65_536,
      incompressibleShare: 0.071,
      blocks: [
        { name: 'pc.ram', bytes: 4 * GIB },
        { name: '0000:00:02.0/vga.vram', bytes: 16 * MIB },
        { name: 'pc.rom', bytes: 128 * 1024 },
        { name: 'pc.bios', bytes: 256 * 1024 },
        { name: '0000:00:03.0/virtio-net-pci.rom', bytes: 256 * 1024 },
      ],
    },
    guest: {
      bytes: 4 * GIB + 18 * MIB,
      zeroBytes: 329_700 * 4096,
      dirtyBytesPerSecond: 100 * MIB,
      workingSetBytes: 1.5 * GIB,
      downtimeLimitMs: 300,
      sourceCpus: 2,
      destinationCpus: 2,
    },
    transport: { cpuSecondsPerGib: 0.73, bytesPerSecond: 2.17 * GIB, setupMs: 45.5, switchoverMs: 4.6 },
    regions: sampleRegions(),
    measurements,
    predictions,
    recommendations,
  };
}

function measurementOf(row: Row, threads: number, packetPages: number): BenchMeasurement {
  const [codec, backend, level, ratio, compress, decompress, pareto] = row;
  const parallel = threads === 1 ? 1 : threads * 0.94;
  const packet = packetPages === 128 ? 1 : 0.91;
  return {
    codec,
    backend,
    level,
    packetPages,
    threads,
    ratio: codec === 'none' ? 1 : ratio * (packetPages === 128 ? 1 : 0.985),
    compressBytesPerSecond: compress * MIB * parallel * packet,
    decompressBytesPerSecond: decompress * MIB * parallel * packet,
    compressBytesPerCpuSecond: compress * MIB * packet,
    decompressBytesPerCpuSecond: decompress * MIB * packet,
    compressCpuSecondsPerGib: 1024 / (compress * packet),
    decompressCpuSecondsPerGib: 1024 / (decompress * packet),
    pages: codec === 'zlib' && level !== 1 ? 9216 : 65_536,
    pareto,
  };
}

/** Passes over 2.76 GiB of pages while the guest writes 100 MiB/s: coarse, but with the shape of the real thing. */
function predict(measurement: BenchMeasurement, index: number, link: number): BenchPrediction {
  const dirty = 100 * MIB;
  const wire = (link / 8) * measurement.ratio;
  const { compressBytesPerSecond, decompressBytesPerSecond } = measurement;
  const rate = Math.min(wire, compressBytesPerSecond, decompressBytesPerSecond);
  let left = 2.76 * GIB;
  let seconds = 0;
  let passes = 0;
  let sent = 0;
  const converges = rate > dirty * 1.02;
  do {
    const pass = left / rate;
    seconds += pass;
    sent += left;
    left = Math.min(pass * dirty, 2.76 * GIB);
    passes++;
  } while (left / rate > 0.3 && passes < (converges ? 200 : 30));
  return {
    measurement: index,
    linkBitsPerSecond: link,
    dirtyBytesPerSecond: dirty,
    totalTimeMs: (seconds + left / rate) * 1000,
    downtimeMs: (left / rate) * 1000,
    passes: passes + 1,
    converges,
    transferredBytes: (sent + left) / measurement.ratio,
    limitedBy: !converges
      ? 'dirty-rate'
      : rate === wire
        ? 'link'
        : rate === compressBytesPerSecond
          ? 'compress'
          : 'decompress',
  };
}

/** 256 stretches of pc.ram: kernel, page cache of compressed and of plain files, heap, untouched memory. */
function sampleRegions(): BenchRegion[] {
  const regions: BenchRegion[] = [];
  for (let index = 0; index < 256; index++) {
    const wave = Math.sin(index * 1.7) * 0.5 + Math.sin(index * 0.37) * 0.5;
    const untouched = (index > 96 && index < 128) || (index > 186 && index < 230);
    const packed = (index > 40 && index < 56) || (index > 150 && index < 157) || index === 171;
    const heap = index > 128 && index < 150;
    const ratio = packed ? 1 + Math.abs(wave) * 0.12 : heap ? 4.4 + wave * 2.2 : 2.25 + wave * 0.9;
    const share =
      untouched && index % 11 !== 0 ? 1 : Math.min(0.95, Math.abs(wave) * 0.35 + (untouched ? 0.5 : 0));
    const place = { block: 'pc.ram', offsetBytes: index * 16 * MIB, bytes: 16 * MIB };
    regions.push({ ...place, zeroShare: share, ratio: share === 1 ? undefined : ratio });
  }
  return [
    ...regions,
    { block: '0000:00:02.0/vga.vram', offsetBytes: 0, bytes: 16 * MIB, zeroShare: 0.94, ratio: 38.2 },
    { block: 'pc.rom', offsetBytes: 0, bytes: 128 * 1024, zeroShare: 0.31, ratio: 1.88 },
    { block: 'pc.bios', offsetBytes: 0, bytes: 256 * 1024, zeroShare: 0.44, ratio: 1.61 },
    {
      block: '0000:00:03.0/virtio-net-pci.rom',
      offsetBytes: 0,
      bytes: 256 * 1024,
      zeroShare: 1,
      ratio: undefined,
    },
  ];
}
