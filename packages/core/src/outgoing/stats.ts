import type { MigrationResult, MigrationStatus, Progress, RamStats } from '../control/progress.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { ChannelStats, PageSender } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type { Pacer } from './pacer.ts';
import type { PageFlow } from './page-flow.ts';
import type { RamIteration } from './ram-iteration.ts';

/** Times and counters of an outgoing migration, in the terms of `query-migrate`. */
export class OutgoingStats {
  readonly #onStatus: (status: MigrationStatus) => void;
  readonly #startMs: number;
  #status: MigrationStatus = 'none';
  #channel: ByteChannel | undefined;
  #sender: PageSender | undefined;
  #ram: RamIteration | undefined;
  #flow: PageFlow | undefined;
  #pacer: Pacer | undefined;
  #activeMs: number | undefined;
  #stoppedMs: number | undefined;
  #stoppedAtBytes = 0;
  #endMs: number | undefined;
  #periodStartMs: number;
  #periodStartDirtied = 0;
  #dirtyPagesPerSecond = 0;

  /** @param startMs when the migration was asked for, on this thread's clock */
  constructor(onStatus: (status: MigrationStatus) => void, startMs = performance.now()) {
    this.#onStatus = onStatus;
    this.#startMs = startMs;
    this.#periodStartMs = startMs;
  }

  setStatus(status: MigrationStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    if (status === 'active') this.#activeMs = performance.now();
    this.#onStatus(status);
  }

  attach(channel: ByteChannel, sender: PageSender | undefined): void {
    this.#channel = channel;
    this.#sender = sender;
  }

  follow(ram: RamIteration, flow: PageFlow, pacer: Pacer): void {
    this.#ram = ram;
    this.#flow = flow;
    this.#pacer = pacer;
  }

  /** Everything that moved so far, either way: what the stall watch looks at. */
  movedBytes(): number {
    return this.wireBytes() + (this.#channel?.bytesRead ?? 0);
  }

  /** The channel that is most likely stuck, for the stall watch: the one that waited longest for its socket. */
  slowest(): { channel: string; offset: number } {
    const [worst] = this.#channels().sort((one, other) => other.stalledMs - one.stalledMs);
    if (worst !== undefined && (this.#flow?.queuedPages ?? 0) > 0) {
      return { channel: `multifd ${worst.channel}`, offset: worst.bytes };
    }
    return { channel: 'main', offset: this.#channel?.bytesWritten ?? 0 };
  }

  /** Lets the pacer close its window when it is due. */
  measure(): void {
    const { normal, zero } = this.#pages();
    this.#pacer?.update(this.wireBytes(), normal * TARGET_PAGE_BYTES, normal + zero);
  }

  /** To be called after each dirty sync: a rate is taken once a second. */
  synced(): void {
    const now = performance.now();
    const elapsedMs = now - this.#periodStartMs;
    const dirtied = this.#ram?.dirtiedPages ?? 0;
    if (elapsedMs < 1000) return;
    this.#dirtyPagesPerSecond = ((dirtied - this.#periodStartDirtied) / elapsedMs) * 1000;
    this.#periodStartMs = now;
    this.#periodStartDirtied = dirtied;
  }

  guestStops(): void {
    this.#stoppedMs = performance.now();
    this.#stoppedAtBytes = this.wireBytes();
  }

  guestHandedOver(): void {
    this.#endMs = performance.now();
  }

  progress(downtimeLimitMs: number): Progress {
    const ram = this.#ramStats();
    const dirtyBytesPerMs = (this.#dirtyPagesPerSecond * TARGET_PAGE_BYTES) / 1000;
    const rate = Math.max(this.#pacer?.wireBytesPerMs ?? 0, this.#pacer?.guestBytesPerMs ?? 0);
    const downtimeMs = rate > 0 ? ram.remaining / rate : 0;
    // Until what is left fits into the downtime limit the guest dirties pages; then it stands still.
    const left = Math.max(0, ram.remaining - rate * downtimeLimitMs);
    const etaMs = left / (rate - dirtyBytesPerMs) + Math.min(downtimeMs, downtimeLimitMs);
    return {
      status: this.#status,
      role: 'source',
      elapsedMs: performance.now() - this.#startMs,
      ram,
      ...(rate > 0 && { expectedDowntimeMs: downtimeMs }),
      ...(rate > dirtyBytesPerMs && { etaMs }),
      channels: this.#channels(),
    };
  }

  result(returnPath: boolean, warnings: string[]): MigrationResult {
    const end = this.#endMs ?? performance.now();
    const active = this.#activeMs ?? end;
    const stats = this.#ramStats();
    return {
      status: 'completed',
      role: 'source',
      totalTimeMs: end - this.#startMs,
      downtimeMs: end - (this.#stoppedMs ?? end),
      setupTimeMs: active - this.#startMs,
      ram: {
        ...stats,
        remaining: 0,
        'dirty-pages-rate': 0,
        mbps: (stats.transferred * 8) / (end - active) / 1000,
      },
      channels: this.#channels(),
      returnPath,
      warnings,
    };
  }

  #ramStats(): RamStats {
    const { normal, zero } = this.#pages();
    const wire = this.wireBytes();
    const stopped = this.#stoppedMs !== undefined;
    return {
      transferred: wire,
      remaining: this.#flow?.pendingBytes() ?? 0,
      total: this.#ram?.totalBytes ?? 0,
      duplicate: zero,
      normal,
      'normal-bytes': normal * TARGET_PAGE_BYTES,
      'dirty-pages-rate': Math.round(this.#dirtyPagesPerSecond),
      mbps: ((this.#pacer?.wireBytesPerMs ?? 0) * 8) / 1000,
      'dirty-sync-count': this.#ram?.dirtySyncCount ?? 0,
      'page-size': TARGET_PAGE_BYTES,
      'multifd-bytes': wire - (this.#channel?.bytesWritten ?? 0),
      'pages-per-second': Math.round(this.#pacer?.pagesPerSecond ?? 0),
      'precopy-bytes': stopped ? this.#stoppedAtBytes : wire,
      'downtime-bytes': stopped ? wire - this.#stoppedAtBytes : 0,
    };
  }

  #channels(): ChannelStats[] {
    return this.#sender?.stats() ?? [];
  }

  #pages(): { normal: number; zero: number } {
    let normal = this.#flow?.main.normalPages ?? 0;
    let zero = this.#flow?.main.zeroPages ?? 0;
    for (const channel of this.#channels()) {
      normal += channel.normalPages;
      zero += channel.zeroPages;
    }
    return { normal, zero };
  }

  /** Bytes on the wire so far, all channels. */
  wireBytes(): number {
    let bytes = this.#channel?.bytesWritten ?? 0;
    for (const channel of this.#channels()) bytes += channel.bytes;
    return bytes;
  }
}
