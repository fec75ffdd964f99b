/**
 * Checks what `pageferry bench` predicts: measures compression on a built-in machine's pages, predicts migrations of
 * it, and then does them, within this process and over loopback, whose both sides share this machine's CPUs. Every
 * prediction is made before its migration, from measurements and from what share of the CPUs as many busy threads as the
 * migration has get at that moment: other work on the machine is not the prediction's business.
 *
 *   node --conditions=pageferry-src bench/predictions.ts [--memory 384] [--working-set 96] [--channels 2]
 *     [--links 0,300,100] [--dirty 0,32] [--settings none,zlib:1,zstd:1,lz4] [--runs 1] [--json]
 *
 * Sizes are MiB; links are max-bandwidth in MiB/s, 0 unlimited; dirty rates are MiB/s of pages.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { MigrationError } from '@pageferry/core';
import type { MigrateOptions, MigrationResult } from '@pageferry/core/control';
import { type Forecast, forecast } from '@pageferry/core/forecast';
import { BuiltinMachine, BuiltinMachineTarget } from '@pageferry/core/guest';
import { RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { migrate, prepareEngine, receive } from '@pageferry/workers';
import {
  type MeasuredCodec,
  type Measurement,
  measureMachine,
  measureSettings,
  measureTransport,
  type Setting,
  sourceOfBlocks,
  surveyMemory,
} from '@pageferry/workers/measure';
import { caseRow, type PredictionCase, predictionErrors, predictionTable } from './prediction-cases.ts';

const MIB = 2 ** 20;
const DOWNTIME_LIMIT_MS = 300;
const SAMPLE_BYTES = 64 * MIB;
/** How long the guest runs alone to see what it costs. */
const ALONE_MS = 1000;
/** How long the CPUs are tried before each migration. */
const TRY_CPUS_MS = 150;
/** A migration that takes this many times as long as predicted, and this much longer, is given up. */
const PATIENCE = 5;
const PATIENCE_MS = 5000;

const { values } = parseArgs({
  options: {
    memory: { type: 'string', default: '384' },
    'working-set': { type: 'string', default: '96' },
    channels: { type: 'string', default: '2' },
    links: { type: 'string', default: '0,300,100' },
    dirty: { type: 'string', default: '0,32' },
    settings: { type: 'string', default: 'none,zlib:1,zstd:1,lz4' },
    runs: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});
const memoryBytes = Number(values.memory) * MIB;
const workingSetBytes = Number(values['working-set']) * MIB;
const channels = Number(values.channels);
const links = values.links.split(',').map((link) => Number(link) * MIB);
const dirtyRates = values.dirty.split(',').map((rate) => Number(rate) * MIB);
const settings = values.settings.split(',').map(parseSetting);

/**
 * A machine's RAM is held by an object of a few bytes: the collector would let dozens of them gather before it is asked.
 */
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** As many threads as a migration has: channels on both sides. They run while the flag is 1. */
const spinning = new Int32Array(new SharedArrayBuffer(4));
const spinners = Array.from({ length: 2 * channels }, () => {
  const code = `
    const { workerData } = require('node:worker_threads');
    for (;;) {
      Atomics.wait(workerData, 0, 0);
      while (Atomics.load(workerData, 0) === 1);
    }`;
  return new Worker(code, { eval: true, workerData: spinning });
});

const basis = await measureBasis();
const cases: PredictionCase[] = [];
for (let run = 0; run < Number(values.runs); run++) {
  for (const dirtyRate of dirtyRates) {
    const busyCpus = await guestAlone(dirtyRate);
    for (const maxBandwidth of links) {
      for (const measurement of basis.measurements) {
        const cpus = await tryCpus();
        const predicted = predict(measurement, { maxBandwidth, dirtyRate, cpus, busyCpus });
        const result = await move(measurement, maxBandwidth, dirtyRate, predicted);
        const { codec, level = '' } = measurement;
        const measured = result && {
          totalTimeMs: result.totalTimeMs,
          downtimeMs: result.downtimeMs,
          passes: result.ram['dirty-sync-count'],
        };
        const setting = `${codec} ${level}`.trim();
        cases.push({ setting, maxBandwidth, dirtyRate, cpus, predicted, measured });
        console.error(caseRow(cases.at(-1)!).join('  '));
      }
    }
  }
}
await Promise.all(spinners.map((spinner) => spinner.terminate()));
console.log(
  values.json
    ? JSON.stringify({ ...basis, survey: undefined, cases, errors: predictionErrors(cases) })
    : predictionTable(cases),
);

/** CPUs that the threads of a migration get on this machine now. */
async function tryCpus(): Promise<number> {
  Atomics.store(spinning, 0, 1);
  Atomics.notify(spinning, 0);
  const before = process.cpuUsage();
  const start = performance.now();
  await delay(TRY_CPUS_MS);
  const { user, system } = process.cpuUsage(before);
  const elapsedMs = performance.now() - start;
  Atomics.store(spinning, 0, 0);
  return (user + system) / 1000 / elapsedMs;
}

/** The circumstances of a migration. */
interface Circumstances {
  readonly maxBandwidth: number;
  readonly dirtyRate: number;
  /** CPUs that there are for everything, and those of them that the guest itself takes. */
  readonly cpus: number;
  readonly busyCpus: number;
}

function parseSetting(text: string): Setting {
  const [codec, level] = text.split(':');
  return {
    codec: codec as MeasuredCodec,
    level: level === undefined ? undefined : Number(level),
    backend: undefined,
    packetPages: 128,
    threads: channels,
  };
}

/** Everything that predictions are made of, from the pages of a machine that stands still. */
async function measureBasis() {
  const machine = await newMachine(0);
  try {
    const blocks = machine.memory.blocks.map((block) => new RamBlock(block));
    const source = sourceOfBlocks(blocks, 'generated', 'built-in machine');
    const survey = await surveyMemory(source, { sampleBytes: SAMPLE_BYTES });
    const transport = await measureTransport(survey.sample);
    const measurements = await measureSettings(survey.sample, settings, {
      turnMs: 300,
      roundLimitMs: 1000,
      turns: 3,
    });
    return { survey, transport, measurements, machine: measureMachine() };
  } finally {
    await machine.close();
  }
}

function newMachine(dirtyRateBytesPerSecond: number): Promise<BuiltinMachine> {
  collectGarbage();
  return BuiltinMachine.create({ memoryBytes, dirtyRateBytesPerSecond, workingSetBytes, preallocate: true });
}

/** CPUs that the guest keeps busy by itself. */
async function guestAlone(dirtyRate: number): Promise<number> {
  const machine = await newMachine(dirtyRate);
  machine.start();
  const before = process.cpuUsage();
  const start = performance.now();
  await delay(ALONE_MS);
  const { user, system } = process.cpuUsage(before);
  const elapsedMs = performance.now() - start;
  await machine.close();
  return (user + system) / 1000 / elapsedMs;
}

function predict(one: Measurement, circumstances: Circumstances): Forecast {
  const { maxBandwidth, dirtyRate, cpus, busyCpus } = circumstances;
  const { survey, transport, machine } = basis;
  const raw = one.codec === 'none';
  return forecast({
    guest: {
      nonZeroBytes: (survey.pages - survey.zeroPages) * TARGET_PAGE_BYTES,
      zeroBytes: survey.zeroPages * TARGET_PAGE_BYTES,
      dirtyBytesPerSecond: dirtyRate,
      workingSetBytes,
    },
    costs: {
      ratio: one.ratio,
      packetPages: one.packetPages,
      threads: channels,
      compressCpuSecondsPerByte: raw ? 0 : one.compressCpuSecondsPerByte,
      decompressCpuSecondsPerByte: raw ? 0 : one.decompressCpuSecondsPerByte,
    },
    hosts: {
      sourceCpus: cpus,
      destinationCpus: cpus,
      shared: true,
      busyCpus,
      sendCpuSecondsPerByte: transport.cpuSecondsPerByte / 2,
      receiveCpuSecondsPerByte: transport.cpuSecondsPerByte / 2,
      zeroCpuSecondsPerByte: machine.zeroCpuSecondsPerByte,
    },
    link: {
      bytesPerSecond: maxBandwidth === 0 ? Number.POSITIVE_INFINITY : maxBandwidth,
      // max-bandwidth is not kept while the guest stands still.
      switchoverBytesPerSecond: Number.POSITIVE_INFINITY,
    },
    downtimeLimitMs: DOWNTIME_LIMIT_MS,
    setupMs: transport.setupMs,
    switchoverMs: transport.switchoverMs,
  });
}

/** Returns undefined when the migration had to be given up. */
async function move(
  { codec, level }: Measurement,
  maxBandwidth: number,
  dirtyRate: number,
  predicted: Forecast,
): Promise<MigrationResult | undefined> {
  const multifd = { multifd: true, multifdChannels: channels, multifdCompression: codec } as const;
  const levels: MigrateOptions =
    codec === 'zlib' ? { multifdZlibLevel: level } : codec === 'zstd' ? { multifdZstdLevel: level } : {};
  const source = await newMachine(dirtyRate);
  const target = new BuiltinMachineTarget({ memoryBytes });
  await target.warmUp();
  const outgoing = prepareEngine({ ...multifd, direction: 'outgoing' });
  const incoming = prepareEngine({ ...multifd, direction: 'incoming' });
  await Promise.all([outgoing.ready, incoming.ready]);
  const reception = receive('tcp:127.0.0.1:0', { ...multifd, guest: target, engine: incoming });
  const uri = await reception.listening;
  source.start();
  const signal = AbortSignal.timeout(Math.ceil(predicted.totalTimeMs * PATIENCE + PATIENCE_MS));
  try {
    const { result } = migrate(source, uri, {
      ...multifd,
      ...levels,
      maxBandwidthBytesPerSecond: maxBandwidth,
      downtimeLimitMs: DOWNTIME_LIMIT_MS,
      engine: outgoing,
      signal,
    });
    const [sent] = await Promise.all([result, reception.result]);
    await target.machine.close();
    return sent;
  } catch (error) {
    if (!(error instanceof MigrationError) || !signal.aborted) throw error;
    await reception.result.catch(() => {});
    return undefined;
  } finally {
    await source.close();
  }
}
