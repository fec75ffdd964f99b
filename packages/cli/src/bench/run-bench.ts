import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { MigrationError } from '@pageferry/core';
import { TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import {
  generateSource,
  libraryVersions,
  listSettings,
  type MachineCosts,
  type Measurement,
  type MemorySource,
  measureMachine,
  measureSettings,
  measureTransport,
  openMemorySource,
  type Survey,
  surveyMemory,
} from '@pageferry/workers/measure';
import type { Context } from '../context.ts';
import { showFileProgress } from '../file-progress.ts';
import type { BenchFlags } from './bench-flags.ts';
import { showBenchProgress } from './bench-progress.ts';
import { isPareto } from './pareto.ts';
import { predictAll, recommendAll } from './predict.ts';
import type { BenchGuest, BenchMachine, BenchMeasurement, BenchReport, BenchTransport } from './report.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** How much is measured, and for how long. */
const EFFORT = {
  quick: {
    memoryBytes: 64 * MIB,
    sampleBytes: 24 * MIB,
    /** Of a large file only a part is read. */
    scanBytes: 2 * GIB,
    turnMs: 250,
    roundLimitMs: 400,
    turns: 1,
  },
  thorough: {
    memoryBytes: 256 * MIB,
    sampleBytes: 64 * MIB,
    scanBytes: Number.POSITIVE_INFINITY,
    turnMs: 400,
    roundLimitMs: 1500,
    turns: 3,
  },
} as const;

/** The generated mix is a small piece of such a guest. */
const GENERATED_GUEST_BYTES = 16 * GIB;

/** Reads the input (the generated mix when there is none), measures, and predicts. */
export async function runBench(
  input: string | undefined,
  flags: BenchFlags,
  context: Context,
): Promise<BenchReport> {
  const { output, signal, version } = context;
  const effort = flags.quick ? EFFORT.quick : EFFORT.thorough;
  const settings = listSettings({
    codecs: flags.codec,
    backends: flags.backend,
    levels: flags.level,
    packetPages: flags.packetPages,
    threads: flags.threads,
    thorough: flags.quick !== true,
    cpus: availableParallelism(),
  });
  const { source, survey } = await readInput(input, flags, effort, context);
  const guest = predictedGuest(flags, source, survey);
  const machine = measureMachine();
  const transport = await measureTransportOrNot(survey, context);
  const measured = await measureSettings(survey.sample, settings, {
    ...effort,
    signal,
    onProgress: showBenchProgress(output),
  });
  output.status('');
  const measurements = measured.map((one) => toBenchMeasurement(one, isPareto(one, measured)));
  const { zeroCpuSecondsPerByte } = machine;
  const links = flags.link.toSorted((a, b) => a - b);
  const predictions = predictAll({ measurements, guest, transport, zeroCpuSecondsPerByte }, links);
  return {
    formatVersion: 1,
    createdAt: new Date().toISOString(),
    pageferryVersion: version,
    machine: describeMachine(machine),
    input: {
      kind: source.kind,
      name: source.name,
      bytes: survey.pages * TARGET_PAGE_BYTES,
      pages: survey.pages,
      zeroPages: survey.zeroPages,
      scannedPages: survey.scannedPages,
      sampledPages: survey.sample.pageCount,
      incompressibleShare: survey.incompressibleShare,
      blocks: source.blocks,
    },
    guest,
    ...(transport !== undefined && { transport }),
    regions: survey.regions,
    measurements,
    predictions,
    recommendations: recommendAll(measurements, predictions),
  };
}

async function readInput(
  input: string | undefined,
  { kind, memory }: BenchFlags,
  { memoryBytes, sampleBytes, scanBytes }: (typeof EFFORT)[keyof typeof EFFORT],
  { output, signal }: Context,
): Promise<{ source: MemorySource; survey: Survey }> {
  const source =
    input === undefined
      ? await generateSource(memory ?? memoryBytes, () => throwIfCancelled(signal))
      : await openMemorySource(input, {
          kind,
          signal,
          onProgress: showFileProgress(output, 'loading', input),
        });
  try {
    for (const note of source.notes) output.note(`note: ${note}`);
    const onProgress = showFileProgress(output, 'reading', source.name);
    const survey = await surveyMemory(source, { sampleBytes, scanBytes, signal, onProgress });
    return { source, survey };
  } finally {
    await source.close();
  }
}

function throwIfCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new MigrationError('cancelled', 'cancelled by the caller');
}

/** @throws MigrationError `bad-option` when the working set is larger than the guest */
function predictedGuest(flags: BenchFlags, source: MemorySource, survey: Survey): BenchGuest {
  const inputBytes = survey.pages * TARGET_PAGE_BYTES;
  const bytes = flags.guestMemory ?? (source.kind === 'generated' ? GENERATED_GUEST_BYTES : inputBytes);
  const workingSetBytes = flags.workingSet ?? bytes;
  if (workingSetBytes > bytes) {
    throw new MigrationError('bad-option', "the working set is larger than the guest's RAM", {
      found: String(workingSetBytes),
      expected: `at most ${bytes}`,
    });
  }
  return {
    bytes,
    zeroBytes: Math.round(bytes * (survey.zeroPages / survey.pages)),
    dirtyBytesPerSecond: flags.dirtyRate,
    workingSetBytes,
    downtimeLimitMs: flags.downtimeLimit,
    sourceCpus: flags.sourceCpus ?? availableParallelism(),
    destinationCpus: flags.destinationCpus ?? availableParallelism(),
  };
}

/** Where loopback cannot be used, the predictions leave the transport out and the report says so. */
async function measureTransportOrNot(
  survey: Survey,
  { output, signal }: Context,
): Promise<BenchTransport | undefined> {
  output.status('measuring the transport over loopback');
  try {
    const costs = await measureTransport(survey.sample, signal);
    const { bytesPerSecond, setupMs, switchoverMs } = costs;
    return { cpuSecondsPerGib: costs.cpuSecondsPerByte * GIB, bytesPerSecond, setupMs, switchoverMs };
  } catch (error) {
    const { code, message } = MigrationError.from(error, 'internal');
    if (code === 'cancelled' || code === 'internal') throw error;
    output.note(`warning: the transport could not be measured, predictions are without it: ${message}`);
    return undefined;
  }
}

function toBenchMeasurement(one: Measurement, pareto: boolean): BenchMeasurement {
  const { codec, backend, level, packetPages, threads, ratio, pages } = one;
  return {
    codec,
    backend,
    level,
    packetPages,
    threads,
    ratio,
    compressBytesPerSecond: one.compressBytesPerSecond,
    decompressBytesPerSecond: one.decompressBytesPerSecond,
    compressBytesPerCpuSecond: 1 / one.compressCpuSecondsPerByte,
    decompressBytesPerCpuSecond: 1 / one.decompressCpuSecondsPerByte,
    compressCpuSecondsPerGib: one.compressCpuSecondsPerByte * GIB,
    decompressCpuSecondsPerGib: one.decompressCpuSecondsPerByte * GIB,
    pages,
    pareto,
  };
}

function describeMachine({ memoryCopyBytesPerSecond }: MachineCosts): BenchMachine {
  return {
    cpuModel: cpus()[0]?.model.trim() ?? 'unknown',
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: `${process.platform} ${release()}`,
    nodeVersion: process.versions.node,
    libraries: libraryVersions(),
    memoryCopyBytesPerSecond,
  };
}
