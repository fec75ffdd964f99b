import type { ResourceLimits } from 'node:worker_threads';
import { ERROR_CODES, MigrationError, type PlainMigrationError, workerEntry } from '@pageferry/core';
import { TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { Piscina } from 'piscina';
import { whileNoneLoads } from '../system/native-load.ts';
import { Gate } from './gate.ts';
import type { RoundPart, RoundTask } from './measure-worker.ts';
import { median } from './median.ts';
import { type PacketSizes, RatioJudge } from './part-ratio.ts';
import { cutPackets, type Sample } from './sample.ts';
import type { Setting } from './settings.ts';

/** What a setting costs. Bytes are those of guest pages, before compression. */
export interface Measurement extends Setting {
  /** Uncompressed over compressed bytes; of the whole sample, also where a part of it was compressed. */
  readonly ratio: number;
  /** All threads together, by the clock. */
  readonly compressBytesPerSecond: number;
  readonly decompressBytesPerSecond: number;
  /** CPU time of the whole process, so that a backend that works on other threads gains nothing by it. */
  readonly compressCpuSecondsPerByte: number;
  readonly decompressCpuSecondsPerByte: number;
  /** Pages of the sample that were compressed: fewer than all where the time was over before. */
  readonly pages: number;
  /** How often it was measured; the numbers are medians. */
  readonly rounds: number;
}

export interface MeasureOptions {
  /** How long one setting is compressed for in one turn, ms: a round begins while this is not over. */
  readonly turnMs: number;
  /** Longest time that a single round compresses, ms. */
  readonly roundLimitMs: number;
  /** How often all settings take their turn. */
  readonly turns: number;
  readonly signal?: AbortSignal;
  /** Before each turn of a setting. `done` and `total` count turns. */
  readonly onProgress?: (progress: { done: number; total: number; setting: Setting }) => void;
}

/** Every thread compresses this many packets at least, however slow it is. */
const LEAST_PACKETS_PER_THREAD = 2;
/** Above any packet's number. */
const NO_MORE_PACKETS = 2 ** 30;
const LIMITS: ResourceLimits = { maxYoungGenerationSizeMb: 8 };

/**
 * Measures settings on a sample, in threads of their own, each a channel with a state of its own. All settings take turns,
 * so that a change of the machine's mood meets all of them. The pages that come out are compared with those that went
 * in, once for each setting.
 *
 * @throws MigrationError `unsupported` for a library that has no build for this platform, `verify-failed`,
 *   `worker-failed`, `cancelled`
 */
export async function measureSettings(
  sample: Sample,
  settings: readonly Setting[],
  options: MeasureOptions,
): Promise<Measurement[]> {
  await using measurer = new Measurer(sample, options, Math.max(...settings.map(({ threads }) => threads)));
  const rounds: Round[][] = settings.map(() => []);
  const total = settings.length * options.turns;
  for (let turn = 0; turn < options.turns; turn++) {
    for (const [index, setting] of settings.entries()) {
      options.onProgress?.({ done: turn * settings.length + index, total, setting });
      rounds[index]!.push(...(await measurer.turn(setting, turn === 0)));
    }
  }
  return settings.map((setting, index) => {
    return summarize(setting, rounds[index]!, measurer.judgeOf(setting.packetPages));
  });
}

/** One time through the sample, or as much of it as there was time for. */
interface Round extends PacketSizes {
  readonly pages: number;
  readonly compressMs: number;
  readonly compressCpuMs: number;
  readonly decompressMs: number;
  readonly decompressCpuMs: number;
}

class Measurer implements AsyncDisposable {
  readonly #sample: Sample;
  readonly #options: MeasureOptions;
  readonly #destination: SharedArrayBuffer;
  /** By packet size. */
  readonly #cuts = new Map<number, { packets: Uint32Array<SharedArrayBuffer>; judge: RatioJudge }>();
  readonly #pool: Piscina;

  constructor(sample: Sample, options: MeasureOptions, threads: number) {
    this.#sample = sample;
    this.#options = options;
    // Its first touch is none of the codecs' business.
    this.#destination = new SharedArrayBuffer(sample.pages.byteLength);
    Buffer.from(this.#destination).fill(1);
    // All threads are kept: starting one takes longer than a round.
    this.#pool = new Piscina({
      filename: workerEntry(import.meta.url, './measure-worker').href,
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      recordTiming: false,
      resourceLimits: LIMITS,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await whileNoneLoads(() => this.#pool.destroy());
  }

  /** @param first whether the code is to be warmed up and the pages compared */
  async turn(setting: Setting, first: boolean): Promise<Round[]> {
    const rounds: Round[] = [];
    let spentMs = 0;
    do {
      const round = await this.#round(setting, first && rounds.length === 0);
      rounds.push(round);
      spentMs += round.compressMs;
    } while (spentMs < this.#options.turnMs);
    return rounds;
  }

  async #round(setting: Setting, first: boolean): Promise<Round> {
    const { signal, roundLimitMs } = this.#options;
    if (signal?.aborted) throw cancelled(signal);
    const gate = new Gate();
    const task: RoundTask = {
      setting,
      pages: this.#sample.pages,
      packets: this.#cut(setting.packetPages).packets,
      destination: this.#destination,
      nextPacket: new Int32Array(new SharedArrayBuffer(4)),
      gate: gate.buffer,
      limitMs: roundLimitMs,
      leastPackets: LEAST_PACKETS_PER_THREAD * setting.threads,
      warmUp: first,
      verify: first,
    };
    const abort = () => {
      Atomics.store(task.nextPacket, 0, NO_MORE_PACKETS);
      gate.abandon();
    };
    signal?.addEventListener('abort', abort, { once: true });
    try {
      const tasks = Array.from({ length: setting.threads }, () => this.#pool.run(task) as Promise<RoundPart>);
      const ended = Promise.all(tasks);
      // Whoever waits at the gate for a thread that died is let go.
      ended.catch(abort);
      const cpuMs = await watchPhases(gate, setting.threads);
      // The first error may be the others' that were let go: the reason comes with the one that has another code.
      const results = await Promise.allSettled(tasks);
      const errors = results.flatMap((result) =>
        result.status === 'rejected' ? [asError(result.reason)] : [],
      );
      if (signal?.aborted) throw cancelled(signal);
      if (errors.length > 0) throw errors.find(({ code }) => code !== 'cancelled') ?? errors[0]!;
      const round = addUp(await ended, cpuMs, task.packets);
      if (setting.codec !== 'none') this.judgeOf(setting.packetPages).offer(round);
      return round;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  judgeOf(packetPages: number): RatioJudge {
    return this.#cut(packetPages).judge;
  }

  #cut(packetPages: number) {
    let cut = this.#cuts.get(packetPages);
    if (cut === undefined) {
      const packets = cutPackets(this.#sample, packetPages);
      cut = { packets, judge: new RatioJudge(packets) };
      this.#cuts.set(packetPages, cut);
    }
    return cut;
  }
}

/** Opens the gate before compressing, before decompressing, and after it. Returns the CPU time of both. */
async function watchPhases(gate: Gate, threads: number): Promise<[compress: number, decompress: number]> {
  const times: number[] = [];
  for (let opening = 0; opening < 3; opening++) {
    await gate.reached(threads);
    const { user, system } = process.cpuUsage();
    times.push((user + system) / 1000);
    gate.open();
  }
  return [times[1]! - times[0]!, times[2]! - times[1]!];
}

function addUp(
  parts: readonly RoundPart[],
  [compressCpuMs, decompressCpuMs]: [number, number],
  packets: Uint32Array,
): Round {
  const least = (pick: (part: RoundPart) => number) => Math.min(...parts.map(pick));
  const most = (pick: (part: RoundPart) => number) => Math.max(...parts.map(pick));
  const taken = parts.flatMap((part) => part.packets);
  return {
    packets: taken,
    payloadBytes: parts.flatMap((part) => part.payloadBytes),
    pages: taken.reduce((sum, packet) => sum + packets[packet * 2 + 1]!, 0),
    compressMs: most((part) => part.compressEndMs) - least((part) => part.compressStartMs),
    decompressMs: most((part) => part.decompressEndMs) - least((part) => part.decompressStartMs),
    compressCpuMs,
    decompressCpuMs,
  };
}

function summarize(setting: Setting, rounds: readonly Round[], judge: RatioJudge): Measurement {
  const of = (pick: (round: Round) => number) => median(rounds.map(pick));
  const bytes = (round: Round) => round.pages * TARGET_PAGE_BYTES;
  return {
    ...setting,
    ratio: of((round) => judge.ratio(round)),
    compressBytesPerSecond: of((round) => (bytes(round) / round.compressMs) * 1000),
    decompressBytesPerSecond: of((round) => (bytes(round) / round.decompressMs) * 1000),
    compressCpuSecondsPerByte: of((round) => round.compressCpuMs / 1000 / bytes(round)),
    decompressCpuSecondsPerByte: of((round) => round.decompressCpuMs / 1000 / bytes(round)),
    pages: of((round) => round.pages),
    rounds: rounds.length,
  };
}

function cancelled(signal: AbortSignal): MigrationError {
  return new MigrationError('cancelled', 'cancelled by the caller', { cause: signal.reason });
}

/** Errors of tasks arrive as the plain form of a MigrationError; anything else is a thread that died. */
function asError(error: unknown): MigrationError {
  const plain = typeof error === 'object' && error !== null && !(error instanceof Error) && 'code' in error;
  if (plain && String(error.code) in ERROR_CODES) {
    return MigrationError.fromPlain(error as PlainMigrationError);
  }
  return MigrationError.from(error, 'worker-failed');
}
