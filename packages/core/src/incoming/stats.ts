import { emptyRamStats, type MigrationResult, type Progress, type RamStats } from '../control/progress.ts';
import type { MigrationStatus } from '../control/states.ts';
import type { MigrationError } from '../error.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { ChannelStats, PageReceiver } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';

/** Times and counters of an incoming migration, in the terms of `query-migrate`. */
export class IncomingStats {
  normalPages = 0;
  zeroPages = 0;
  /** Pages of which the difference came. */
  xbzrlePages = 0;
  /** Pages that came compressed one by one. */
  compressedPages = 0;
  syncs = 0;
  totalBytes = 0;
  #status: MigrationStatus = 'none';
  #main: ByteChannel | undefined;
  #receiver: Pick<PageReceiver<never>, 'stats'> | undefined;
  #beginMs: number | undefined;
  #deviceMs: number | undefined;
  #endMs: number | undefined;
  #activeMs: number | undefined;

  #error: MigrationError | undefined;

  entered(status: MigrationStatus): void {
    this.#status = status;
    if (status === 'failed' || status === 'cancelled') this.#endMs = performance.now();
  }

  /** The migration is over, and this is why. */
  failed(error: MigrationError): void {
    this.#error = error;
  }

  /** The first connection is there. */
  begin(main: ByteChannel, receiver: Pick<PageReceiver<never>, 'stats'> | undefined): void {
    this.#main = main;
    this.#receiver = receiver;
    this.#beginMs = performance.now();
  }

  /** The first page can come. */
  ready(): void {
    this.#activeMs ??= performance.now();
  }

  /** All pages are in place. */
  ramLoaded(): void {
    this.#deviceMs = performance.now();
  }

  guestTaken(): void {
    this.#endMs = performance.now();
  }

  movedBytes(): number {
    let bytes = (this.#main?.bytesRead ?? 0) + (this.#main?.bytesWritten ?? 0);
    for (const channel of this.#channels()) bytes += channel.bytes;
    return bytes;
  }

  /** The main channel and how far it came, for the stall watch: the other channels wait for it at the next sync. */
  place(): { channel: string; offset: number } {
    return { channel: 'main', offset: this.#main?.bytesRead ?? 0 };
  }

  progress(): Progress {
    return {
      status: this.#status,
      role: 'destination',
      elapsedMs: this.#beginMs === undefined ? 0 : (this.#endMs ?? performance.now()) - this.#beginMs,
      ram: this.#ramStats(),
      ...(this.#status === 'failed' && this.#error !== undefined && { errorDesc: this.#error.message }),
      channels: this.#channels(),
    };
  }

  result(returnPath: boolean, warnings: string[]): MigrationResult {
    const end = this.#endMs ?? performance.now();
    const begin = this.#beginMs ?? end;
    return {
      status: 'completed',
      role: 'destination',
      totalTimeMs: end - begin,
      downtimeMs: end - (this.#deviceMs ?? end),
      setupTimeMs: (this.#activeMs ?? begin) - begin,
      ram: this.#ramStats(),
      channels: this.#channels(),
      returnPath,
      warnings,
    };
  }

  #ramStats(): RamStats {
    let normal = this.normalPages;
    let zero = this.zeroPages;
    let multifdBytes = 0;
    for (const channel of this.#channels()) {
      normal += channel.normalPages;
      zero += channel.zeroPages;
      multifdBytes += channel.bytes;
    }
    const transferred = multifdBytes + (this.#main?.bytesRead ?? 0);
    const elapsedMs = (this.#endMs ?? performance.now()) - (this.#beginMs ?? performance.now());
    return {
      ...emptyRamStats(),
      transferred,
      remaining: 0,
      total: this.totalBytes,
      duplicate: zero,
      normal,
      'normal-bytes': normal * TARGET_PAGE_BYTES,
      'dirty-pages-rate': 0,
      mbps: elapsedMs > 0 ? (transferred * 8) / elapsedMs / 1000 : 0,
      'dirty-sync-count': this.syncs,
      'page-size': TARGET_PAGE_BYTES,
      'multifd-bytes': multifdBytes,
      'pages-per-second':
        elapsedMs > 0
          ? Math.round(((normal + zero + this.xbzrlePages + this.compressedPages) / elapsedMs) * 1000)
          : 0,
      'precopy-bytes': transferred,
      'downtime-bytes': 0,
    };
  }

  #channels(): ChannelStats[] {
    return this.#receiver?.stats() ?? [];
  }
}
