import type { ResolvedMigrateOptions } from '../control/options.ts';
import { emptyRamStats, type MigrationResult, type Progress, type RamStats } from '../control/progress.ts';
import type { MigrationStatus } from '../control/states.ts';
import type { MigrationError } from '../error.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { ChannelStats, PageSender } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type { GuestThrottle } from './guest-throttle.ts';
import type { Pacer } from './pacer.ts';
import type { PageFlow } from './page-flow.ts';
import type { RamIteration } from './ram-iteration.ts';
import { type Period, SyncPeriods } from './sync-period.ts';

/** Windows in which less was sent say nothing about the expected downtime. */
const LEAST_TELLING_BYTES = 10_000;

/** What the counters come from, once the stream has begun. */
interface Followed {
  readonly ram: Pick<RamIteration, 'totalBytes' | 'dirtySyncCount' | 'dirtiedPages'>;
  readonly flow: Pick<PageFlow, 'main' | 'queuedPages' | 'pendingBytes'> &
    Partial<Pick<PageFlow, 'xbzrle' | 'compressed' | 'wordBytes'>>;
  readonly pacer: Pacer;
  readonly throttle?: GuestThrottle;
}

/** Times and counters of an outgoing migration, in the terms of `query-migrate`. */
export class OutgoingStats {
  readonly #live: Readonly<ResolvedMigrateOptions>;
  readonly #startMs: number;
  #status: MigrationStatus = 'none';
  #channel: ByteChannel | undefined;
  #sender: PageSender | undefined;
  #ram: Followed['ram'] | undefined;
  #flow: Followed['flow'] | undefined;
  #pacer: Pacer | undefined;
  #throttle: GuestThrottle | undefined;
  #activeMs: number | undefined;
  #stoppedMs: number | undefined;
  #resumedMs: number | undefined;
  /** Bytes of RAM that were sent before the guest stopped, and before it ran on. */
  #stoppedAtBytes: number | undefined;
  #resumedAtBytes: number | undefined;
  #endMs: number | undefined;
  readonly #periods = new SyncPeriods();
  #pendingAtSyncBytes = 0;
  #expectedDowntimeMs: number;
  #error: MigrationError | undefined;

  /** @param startMs when the migration was asked for, on this thread's clock */
  constructor(live: Readonly<ResolvedMigrateOptions>, startMs = performance.now()) {
    this.#live = live;
    this.#startMs = startMs;
    this.#expectedDowntimeMs = live.downtimeLimitMs;
  }

  entered(status: MigrationStatus): void {
    this.#status = status;
    if (status === 'active') this.#activeMs = performance.now();
    if (status === 'failed' || status === 'cancelled') this.#endMs = performance.now();
  }

  /** The migration is over, and this is why. */
  failed(error: MigrationError): void {
    this.#error = error;
  }

  attach(channel: ByteChannel, sender: PageSender | undefined): void {
    this.#channel = channel;
    this.#sender = sender;
  }

  /** @param guestRuns what is sent of one that stands still counts as sent in the downtime */
  follow({ ram, flow, pacer, throttle }: Followed, guestRuns: boolean): void {
    if (!guestRuns) this.#stoppedAtBytes = 0;
    this.#ram = ram;
    this.#flow = flow;
    this.#pacer = pacer;
    this.#throttle = throttle;
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
    const pacer = this.#pacer!;
    const { normal, encoded, zero } = this.#pages();
    const windowBytes = pacer.update(this.wireBytes(), this.#contentBytes(), normal + encoded + zero);
    if (windowBytes === undefined || windowBytes <= LEAST_TELLING_BYTES) return;
    if (this.#periods.dirtyPagesPerSecond === 0) return;
    this.#expectedDowntimeMs = this.#pendingAtSyncBytes / pacer.switchoverBytesPerMs;
  }

  /** To be called after each sync of the dirty log. Returns what happened in the period that it ended, if it did. */
  synced(): Period | undefined {
    this.#pendingAtSyncBytes = this.#flow!.pendingBytes();
    const sentBytes = Math.max(this.wireBytes(), this.#contentBytes());
    const period = this.#periods.synced(this.#ram!.dirtiedPages, sentBytes);
    if (period !== undefined) this.#endPeriod();
    return period;
  }

  #endPeriod(): void {
    const { normal, encoded, zero } = this.#pages();
    this.#flow!.xbzrle?.endPeriod();
    this.#flow!.compressed?.endPeriod(normal + encoded + zero);
  }

  guestStops(): void {
    this.#stoppedMs = performance.now();
    this.#stoppedAtBytes ??= this.#ramBytes();
  }

  /** The guest of a background snapshot is as before its stop. */
  guestResumed(guestRuns: boolean): void {
    this.#resumedMs = performance.now();
    if (guestRuns) this.#resumedAtBytes = this.#ramBytes();
  }

  guestHandedOver(): void {
    this.#endMs = performance.now();
  }

  progress(): Progress {
    const ram = this.#ramStats();
    const dirtyBytesPerMs = (this.#periods.dirtyPagesPerSecond * TARGET_PAGE_BYTES) / 1000;
    const rate = this.#pacer?.bytesPerMs ?? 0;
    const downtimeMs = rate > 0 ? ram.remaining / this.#pacer!.switchoverBytesPerMs : 0;
    // Until what is left fits into the downtime limit the guest dirties pages; then it stands still.
    const left = Math.max(0, ram.remaining - (this.#pacer?.thresholdBytes ?? 0));
    const etaMs = left / (rate - dirtyBytesPerMs) + Math.min(downtimeMs, this.#live.downtimeLimitMs);
    const over = this.#endMs !== undefined;
    return {
      status: this.#status,
      role: 'source',
      elapsedMs: (this.#endMs ?? performance.now()) - this.#startMs,
      ram: this.#status === 'completed' ? this.#finalRamStats() : ram,
      ...(this.#activeMs !== undefined && { setupTimeMs: this.#activeMs - this.#startMs }),
      ...(this.#status === 'completed' && { downtimeMs: this.#downtimeMs() }),
      ...(!over && { expectedDowntimeMs: this.#expectedDowntimeMs }),
      ...(rate > dirtyBytesPerMs && !over && { etaMs }),
      ...this.#xbzrle(),
      ...(!over && this.#throttle?.progress()),
      ...(this.#flow?.compressed !== undefined && { compression: this.#flow.compressed.stats() }),
      // A cancel is no error.
      ...(this.#status === 'failed' && this.#error !== undefined && { errorDesc: this.#error.message }),
      channels: this.#channels(),
    };
  }

  result(returnPath: boolean, warnings: string[]): MigrationResult {
    const end = this.#endMs ?? performance.now();
    return {
      status: 'completed',
      role: 'source',
      totalTimeMs: end - this.#startMs,
      downtimeMs: this.#downtimeMs(),
      setupTimeMs: (this.#activeMs ?? end) - this.#startMs,
      ram: this.#finalRamStats(),
      ...this.#xbzrle(),
      channels: this.#channels(),
      returnPath,
      warnings,
    };
  }

  #xbzrle(): Pick<Progress, 'xbzrleCache'> {
    const pages = this.#flow?.xbzrle;
    return pages === undefined ? {} : { xbzrleCache: pages.stats() };
  }

  #downtimeMs(): number {
    const end = this.#resumedMs ?? this.#endMs ?? performance.now();
    return end - (this.#stoppedMs ?? end);
  }

  #finalRamStats(): RamStats {
    const stats = this.#ramStats();
    const end = this.#endMs ?? performance.now();
    const mbps = (stats.transferred * 8) / (end - (this.#activeMs ?? end)) / 1000;
    return { ...stats, remaining: 0, 'dirty-pages-rate': 0, mbps };
  }

  #ramStats(): RamStats {
    const { normal, zero } = this.#pages();
    const wire = this.wireBytes();
    const ramBytes = this.#ramBytes();
    const downtimeBytes = (this.#resumedAtBytes ?? ramBytes) - (this.#stoppedAtBytes ?? ramBytes);
    return {
      ...emptyRamStats(),
      transferred: wire,
      remaining: this.#flow?.pendingBytes() ?? 0,
      total: this.#ram?.totalBytes ?? 0,
      duplicate: zero,
      normal,
      'normal-bytes': normal * TARGET_PAGE_BYTES,
      'dirty-pages-rate': Math.round(this.#periods.dirtyPagesPerSecond),
      mbps: ((this.#pacer?.wireBytesPerMs ?? 0) * 8) / 1000,
      'dirty-sync-count': this.#ram?.dirtySyncCount ?? 0,
      'page-size': TARGET_PAGE_BYTES,
      'multifd-bytes': this.#live.multifd ? this.#channelBytes() : 0,
      'pages-per-second': Math.round(this.#pacer?.pagesPerSecond ?? 0),
      'precopy-bytes': ramBytes - downtimeBytes,
      'downtime-bytes': downtimeBytes,
    };
  }

  #channels(): ChannelStats[] {
    return this.#sender?.stats() ?? [];
  }

  /** Bytes of the guest's pages that were sent with their content, whatever that took. */
  #contentBytes(): number {
    const { normal, encoded } = this.#pages();
    return (normal + encoded) * TARGET_PAGE_BYTES;
  }

  /** Pages sent as they are, as changes (XBZRLE) or compressed, and as zero. */
  #pages(): { normal: number; encoded: number; zero: number } {
    const encoded = (this.#flow?.xbzrle?.stats().pages ?? 0) + (this.#flow?.compressed?.stats().pages ?? 0);
    let normal = this.#flow?.main.normalPages ?? 0;
    let zero = (this.#flow?.main.zeroPages ?? 0) + (this.#flow?.compressed?.zeroPages ?? 0);
    for (const channel of this.#channels()) {
      normal += channel.normalPages;
      zero += channel.zeroPages;
    }
    return { normal, encoded, zero };
  }

  /** Bytes on the wire so far, all channels. */
  wireBytes(): number {
    return (this.#channel?.bytesWritten ?? 0) + this.#channelBytes();
  }

  #channelBytes(): number {
    let bytes = 0;
    for (const channel of this.#channels()) bytes += channel.bytes;
    return bytes;
  }

  /** Bytes of RAM beside those of multifd channels. (The thread that writes the pages of a file is none.) */
  #ramBytes(): number {
    const { main: pages, compressed, wordBytes = 0 } = this.#flow ?? {};
    const main = (pages?.recordBytes ?? 0) + (compressed?.recordBytes ?? 0) + wordBytes;
    return this.#live.multifd ? main : main + this.#channelBytes();
  }
}
