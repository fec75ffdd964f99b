/**
 * What `pageferry bench` found: the one model that the text, JSON, CSV and HTML forms are made of. Rates are
 * bytes of guest pages per second (before compression); zero pages never reach a codec and are not counted.
 */
export interface BenchReport {
  readonly formatVersion: 1;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly pageferryVersion: string;
  readonly machine: BenchMachine;
  readonly input: BenchInput;
  /** The guest that the predictions are for. */
  readonly guest?: BenchGuest;
  /** What a migration costs beside compression; missing when it could not be measured. */
  readonly transport?: BenchTransport;
  /** Equal stretches of the input in address order, for the map; at most a few thousand. */
  readonly regions: readonly BenchRegion[];
  readonly measurements: readonly BenchMeasurement[];
  readonly predictions: readonly BenchPrediction[];
  /** One for each link speed, ascending. */
  readonly recommendations: readonly BenchRecommendation[];
}

export interface BenchMachine {
  readonly cpuModel: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly nodeVersion: string;
  /** Versions of the compression libraries, by name. */
  readonly libraries: Readonly<Record<string, string>>;
  /** Plain copy of memory by one thread. */
  readonly memoryCopyBytesPerSecond: number;
}

/** The guest that the predictions are for: the input's, or a larger or smaller one with the same kinds of pages. */
export interface BenchGuest {
  readonly bytes: number;
  readonly zeroBytes: number;
  readonly dirtyBytesPerSecond: number;
  /** What the writes are spread over. */
  readonly workingSetBytes: number;
  readonly downtimeLimitMs: number;
  readonly sourceCpus: number;
  readonly destinationCpus: number;
}

/** Measured with an uncompressed migration over loopback, both sides on this machine. */
export interface BenchTransport {
  /** Both sides together, per GiB on the wire. */
  readonly cpuSecondsPerGib: number;
  /** Over two channels. */
  readonly bytesPerSecond: number;
  /** From the start to the first page, with threads that wait already. */
  readonly setupMs: number;
  /** The downtime of a guest that has nothing left to send. */
  readonly switchoverMs: number;
}

interface BenchInput {
  readonly kind: 'capture' | 'image' | 'core-dump' | 'generated';
  /** File name, or the description of the generated mix. */
  readonly name: string;
  readonly bytes: number;
  readonly pages: number;
  /** Counted, or expected after `scannedPages` when those are not all. */
  readonly zeroPages: number;
  /** Pages that were looked at; all when missing. */
  readonly scannedPages?: number;
  /** Non-zero pages that were measured: all of them, or an even sample. */
  readonly sampledPages: number;
  /** Share of the sampled pages that zstd 1 does not make smaller by at least 5 %. 0 to 1. */
  readonly incompressibleShare: number;
  readonly blocks: readonly { readonly name: string; readonly bytes: number }[];
}

export interface BenchRegion {
  /** RAM block (or file) that it lies in. */
  readonly block: string;
  readonly offsetBytes: number;
  readonly bytes: number;
  /** 0 to 1. */
  readonly zeroShare: number;
  /** Uncompressed over compressed size of its non-zero pages, by a fast codec; undefined when it has none. */
  readonly ratio: number | undefined;
}

export interface BenchMeasurement {
  /** `none`, `zlib`, `zstd`, `lz4`. */
  readonly codec: string;
  readonly backend: string | undefined;
  readonly level: number | undefined;
  readonly packetPages: number;
  readonly threads: number;
  /** Uncompressed over compressed bytes, 1 for `none`. */
  readonly ratio: number;
  /** All threads together, by the clock. */
  readonly compressBytesPerSecond: number;
  readonly decompressBytesPerSecond: number;
  /** Per second of CPU time. */
  readonly compressBytesPerCpuSecond: number;
  readonly decompressBytesPerCpuSecond: number;
  readonly compressCpuSecondsPerGib: number;
  readonly decompressCpuSecondsPerGib: number;
  /** Pages of the sample that were compressed, where time was too short for all. */
  readonly pages?: number;
  /** Whether nothing else with as many threads and the same packet size is both faster and smaller. */
  readonly pareto: boolean;
}

/**
 * What a migration would be like. Where it does not converge, total time and downtime are those of a guest that is
 * stopped as soon as further passes no longer make the rest smaller.
 */
export interface BenchPrediction {
  /** Index in `measurements`. */
  readonly measurement: number;
  readonly linkBitsPerSecond: number;
  /** Bytes of pages that the guest's writes touch per second. */
  readonly dirtyBytesPerSecond: number;
  readonly totalTimeMs: number;
  readonly downtimeMs: number;
  /** The last one, with the guest stopped, included. */
  readonly passes: number;
  readonly converges: boolean;
  readonly transferredBytes: number;
  readonly limitedBy: 'link' | 'compress' | 'decompress' | 'dirty-rate';
}

export interface BenchRecommendation {
  readonly linkBitsPerSecond: number;
  readonly measurement: number;
  /** One sentence. */
  readonly reason: string;
}
