/** What is known about a codec before anything was measured. */
export interface CodecPrior {
  /** Thread time, ms per byte of pages; 0 for the codec that does nothing. Only the relations matter. */
  readonly msPerByte: number;
  /**
   * How far it compresses, relative to the others: pages of depth `d` leave `exp(-d * depth)` of their bytes.
   * 0 for the codec that does nothing.
   */
  readonly depth: number;
}

/** The index of the codec that does nothing. */
export const RAW = 0;

const FULL_PACKET_BYTES = 512 * 1024;
/** What handing bytes to the kernel costs until it was measured, ms per byte. */
const FIRST_COPY_MS_PER_BYTE = 0.3 / FULL_PACKET_BYTES;
/** How deep pages compress until any were seen: as those that the priors were measured with. */
const FIRST_DEPTH = 1;
/** A machine is taken to be slower than the priors at first: packets of a codec that is too hard cost more. */
const FIRST_LOG_MACHINE = Math.log(1.5);
/** Over which time everything beside codec and kernel is measured, ms: most of it comes in pieces. */
const OTHER_HORIZON_MS = 200;
/** The most that a packet costs beside codec and kernel, ms: more is an accident. */
const MOST_OTHER_MS = 5;

interface CodecEstimate extends CodecPrior {
  /** Measured time against the prior and the machine's factor, as a logarithm. */
  logTime: number;
  /** When it was measured last, in packets. */
  measuredAt: number;
  samples: number;
}

/**
 * What a packet costs its thread and leaves for its link, per byte of pages: running estimates from real packets,
 * with priors for what was not tried yet. How deep pages compress is measured, and how much deeper one codec goes
 * than another is not: packets differ far more than that does. A machine's speed is shared by all codecs, so that one that was not used
 * for a while is still known.
 */
export class CodecEstimates {
  readonly count: number;
  /** Depth of the pages that can be compressed. */
  usualDepth = FIRST_DEPTH;
  readonly #codecs: CodecEstimate[];
  /** Thread time of each codec alone, ms per byte of pages. */
  readonly #codecMs: Float64Array;
  /** How much slower than the priors this machine is now, as a logarithm. */
  #logMachine = FIRST_LOG_MACHINE;
  #machineSamples = 0;
  #copyMsPerByte = FIRST_COPY_MS_PER_BYTE;
  #otherMsPerByte = 0;
  // Over the horizon.
  #otherMs = 0;
  #otherBytes = 0;

  /** @param priors in the order of their cost, the one that does nothing first */
  constructor(priors: readonly CodecPrior[]) {
    this.count = priors.length;
    this.#codecs = priors.map((prior) => ({
      ...prior,
      logTime: 0,
      measuredAt: 0,
      samples: 0,
    }));
    this.#codecMs = new Float64Array(priors.length);
    this.#timeCodecs();
  }

  /** Bytes on the wire per byte of pages. */
  wire(codec: number, depth: number): number {
    return codec === RAW ? 1 : Math.exp(-depth * this.#codecs[codec]!.depth);
  }

  /** Thread time per byte of pages, ms. */
  threadMs(codec: number, depth: number): number {
    return this.cost(codec, depth, 0);
  }

  /** Thread time and the bytes on the wire at a price each, ms, per byte of pages. */
  cost(codec: number, depth: number, price: number): number {
    const perWireByteMs = this.#copyMsPerByte + price;
    return this.#otherMsPerByte + this.#codecMs[codec]! + perWireByteMs * this.wire(codec, depth);
  }

  /** What handing bytes to the kernel costs by itself, ms. */
  copyMs(bytes: number): number {
    return this.#copyMsPerByte * bytes;
  }

  /** What a codec's result says about its pages. 0: incompressible. */
  depthOf(codec: number, pageBytes: number, wireBytes: number): number {
    const depth = -Math.log(wireBytes / pageBytes) / this.#codecs[codec]!.depth;
    return depth > 0.01 ? depth : 0;
  }

  /** How many packets ago the codec was measured. */
  age(codec: number, packets: number): number {
    return packets - this.#codecs[codec]!.measuredAt;
  }

  /**
   * A packet was compressed. Returns false when it was the first of its codec, which pays for the codec's memory.
   *
   * @param packets how many there were before
   */
  learnCodec(codec: number, packets: number, pageBytes: number, wireBytes: number, ms: number): boolean {
    const estimate = this.#codecs[codec]!;
    estimate.measuredAt = packets;
    estimate.samples++;
    // A packet of few pages says little.
    const weight = Math.min(1, pageBytes / FULL_PACKET_BYTES);
    const depth = this.depthOf(codec, pageBytes, wireBytes);
    if (depth > 0) this.usualDepth += 0.05 * weight * (depth - this.usualDepth);
    if (estimate.samples === 1) return false;
    if (ms <= 0) return true;
    const off = Math.log(ms / pageBytes / estimate.msPerByte) - this.#logMachine - estimate.logTime;
    this.#machineSamples++;
    this.#logMachine += clamp(off, 1.5) * weight * Math.max(0.1, 0.8 / this.#machineSamples);
    estimate.logTime = clamp(estimate.logTime + 0.05 * weight * clamp(off, 1.5), 1);
    this.#timeCodecs();
    return true;
  }

  /** @param hadRoom the channel had waited for a job: the socket's buffer cannot have been full */
  learnCopy(hadRoom: boolean, ms: number, bytes: number): void {
    const most = Math.min(this.#codecMs[RAW + 1]!, 3 * this.#copyMsPerByte);
    const off = Math.min(ms / bytes, most) - this.#copyMsPerByte;
    // Otherwise some of it was waiting: the faster writes tell more.
    const gain = hadRoom || off < 0 ? 0.1 : 0.02;
    // What a call costs by itself, and the receiver that it wakes, is no matter of bytes.
    this.#copyMsPerByte += off * gain * Math.min(1, bytes / FULL_PACKET_BYTES);
  }

  /** Thread time of a packet beside codec and kernel. */
  learnOther(ms: number, pageBytes: number, cycleMs: number): void {
    const decay = Math.exp(-cycleMs / OTHER_HORIZON_MS);
    this.#otherMs = this.#otherMs * decay + Math.min(MOST_OTHER_MS, Math.max(0, ms));
    this.#otherBytes = this.#otherBytes * decay + pageBytes;
    this.#otherMsPerByte = this.#otherMs / this.#otherBytes;
  }

  #timeCodecs(): void {
    for (let codec = 0; codec < this.count; codec++) {
      const { msPerByte, logTime } = this.#codecs[codec]!;
      this.#codecMs[codec] = msPerByte * Math.exp(this.#logMachine + logTime);
    }
  }
}

function clamp(value: number, limit: number): number {
  return Math.max(-limit, Math.min(limit, value));
}
