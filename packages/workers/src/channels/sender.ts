import { type ChannelStats, MigrationError, type PageSender, workerEntry } from '@pageferry/core';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import type { RamBlockMemory } from '@pageferry/core/memory';
import type { SocketAddress } from '@pageferry/core/transport';
import { MULTIFD_PAGES_PER_PACKET } from '@pageferry/core/wire';
import { CODECS, checkLevel, resolveBackend } from '../codecs/registry.ts';
import { ChannelCells } from './channel-cells.ts';
import type { ChannelIo } from './channel-io.ts';
import { ChannelPool, type WarmUp } from './channel-pool.ts';
import { JOB_RING_BYTES, JobKind, JobRing } from './job-ring.ts';
import type { SendTask } from './send-worker.ts';

export interface ThreadedPageSenderOptions {
  readonly address: SocketAddress;
  /** 1 to 255. */
  readonly channels: number;
  readonly compression: MultifdCompression;
  /** The default (docs/codecs.md) if absent. */
  readonly backend?: CodecBackend | undefined;
  /** 0 to 9; read when the compression is zlib. */
  readonly zlibLevel: number;
  /** 0 to 20; read when the compression is zstd. */
  readonly zstdLevel: number;
  /** 16 bytes for the handshakes; zeros if absent. */
  readonly uuid?: Uint8Array | undefined;
  /** Whether the channels find zero pages and name them in their packets (QEMU from 9.0). */
  readonly zeroPagesInPackets: boolean;
  /** Nobody writes the guest's RAM: a captured guest's, say. */
  readonly isStill?: boolean | undefined;
  readonly connectTimeoutMs: number;
  /** Of all channels together, for codecs that choose by it; 0 or absent: none. It may change. */
  readonly maxBandwidthBytesPerSecond?: number | undefined;
  /** `blocking` if absent. */
  readonly io?: ChannelIo | undefined;
  /** Threads from `sendingPool` with as many channels, started before. */
  readonly pool?: ChannelPool | undefined;
}

/** Threads for the channels of a source; not started yet. */
export function sendingPool(channels: number): ChannelPool {
  return new ChannelPool(workerEntry(import.meta.url, './send-worker'), channels);
}

/** How long channels may take to close once everything was handed to the kernel. */
const CLOSE_LIMIT_MS = 5000;

/**
 * Page channels of a source, a thread for each. Nothing is started before `open`.
 *
 * @throws MigrationError `bad-option` for a level or backend that the codec does not have
 */
export function createThreadedPageSender(options: ThreadedPageSenderOptions): PageSender & WarmUp {
  return new ThreadedPageSender(options);
}

class ThreadedPageSender implements PageSender, WarmUp {
  readonly pagesPerSubmit = MULTIFD_PAGES_PER_PACKET;
  readonly failed: Promise<never>;
  readonly #options: ThreadedPageSenderOptions;
  readonly #level: number | undefined;
  readonly #pool: ChannelPool;
  readonly #cells: ChannelCells[];
  readonly #rings: JobRing[];
  #next = 0;
  #toldBytesPerSecond = 0;

  constructor(options: ThreadedPageSenderOptions) {
    const codec = CODECS[options.compression];
    this.#level = options.compression === 'zlib' ? options.zlibLevel : options.zstdLevel;
    checkLevel(codec, this.#level);
    resolveBackend(codec, 'compress', options.backend);
    this.#options = options;
    this.#cells = Array.from({ length: options.channels }, () => ChannelCells.create(JOB_RING_BYTES));
    this.#rings = this.#cells.map((cells) => new JobRing(cells));
    this.#pool = options.pool ?? sendingPool(options.channels);
    this.failed = this.#pool.failed;
  }

  async open(blocks: readonly RamBlockMemory[]): Promise<void> {
    const { address, compression, backend, uuid, connectTimeoutMs, zeroPagesInPackets } = this.#options;
    const { io = 'blocking', isStill = false } = this.#options;
    this.#tellLimit();
    for (const [channel, cells] of this.#cells.entries()) {
      const name = `multifd ${channel}`;
      const task: SendTask = {
        channel,
        name,
        address,
        uuid,
        connectTimeoutMs,
        compression,
        level: this.#level,
        backend,
        zeroPagesInPackets,
        isStill,
        io,
        channels: this.#options.channels,
        blocks: blocks.map(({ idstr, usedLengthBytes, pageSizeBytes, buffer, byteOffset }) => ({
          idstr,
          usedLengthBytes,
          pageSizeBytes,
          buffer,
          byteOffset,
        })),
        cells: cells.buffer,
        others: this.#cells.filter((other) => other !== cells).map(({ buffer }) => buffer),
        words: this.#pool.words.buffer,
      };
      this.#pool.run(name, task);
    }
    await this.#pool.until(() => this.#cells.every((cells) => cells.isOpen));
  }

  /** Takes the least loaded channel; of equal ones each in turn. */
  submit(blockIndex: number, pages: Uint32Array, count: number): boolean {
    if (this.#pool.error !== undefined) return false;
    this.#tellLimit();
    const rings = this.#rings;
    let best = this.#next;
    let bestLength = rings[best]!.length;
    for (let i = 1; i < rings.length && bestLength > 0; i++) {
      const candidate = (this.#next + i) % rings.length;
      const { length } = rings[candidate]!;
      if (length < bestLength) {
        best = candidate;
        bestLength = length;
      }
    }
    if (!rings[best]!.push(JobKind.pages, blockIndex, pages, count)) return false;
    this.#next = (best + 1) % rings.length;
    return true;
  }

  drained(): Promise<void> {
    return this.#pool.until(() => this.#rings.some((ring) => ring.hasRoom));
  }

  sync(): Promise<void> {
    return this.#pushToAll(JobKind.sync);
  }

  flushed(): Promise<void> {
    const targets = this.#cells.map((cells) => cells.queued);
    return this.#pool.until(() => {
      let flushed = true;
      // Each is asked, so that each rings when it is done.
      for (const [channel, cells] of this.#cells.entries()) {
        if (!cells.isFlushed(targets[channel]!)) flushed = false;
      }
      return flushed;
    });
  }

  async close(): Promise<void> {
    try {
      await this.flushed();
      await this.#pushToAll(JobKind.end);
      await this.#pool.finish(CLOSE_LIMIT_MS);
    } catch (error) {
      await this.abort(MigrationError.from(error, 'internal'));
      throw error;
    }
  }

  abort(error: Error): Promise<void> {
    return this.#pool.abort(error);
  }

  warmUp(): void {
    this.#pool.warmUp();
  }

  stats(): ChannelStats[] {
    return this.#cells.map((cells, channel) => cells.stats(channel));
  }

  #tellLimit(): void {
    const { maxBandwidthBytesPerSecond = 0 } = this.#options;
    if (maxBandwidthBytesPerSecond === this.#toldBytesPerSecond) return;
    this.#toldBytesPerSecond = maxBandwidthBytesPerSecond;
    const limit = maxBandwidthBytesPerSecond / 1000;
    this.#pool.words.limitBytesPerMs = limit === 0 ? undefined : limit;
  }

  async #pushToAll(kind: JobKind): Promise<void> {
    let next = 0;
    await this.#pool.until(() => {
      while (next < this.#rings.length && this.#rings[next]!.push(kind)) next++;
      return next === this.#rings.length;
    });
  }
}
