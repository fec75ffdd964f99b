import type { ChannelStats } from '../page-channels.ts';
import type { MigrationStatus } from './states.ts';

/** `query-migrate`'s `ram` member, QEMU's names and units. */
export interface RamStats {
  transferred: number;
  remaining: number;
  total: number;
  duplicate: number;
  normal: number;
  'normal-bytes': number;
  'dirty-pages-rate': number;
  mbps: number;
  'dirty-sync-count': number;
  'page-size': number;
  'multifd-bytes': number;
  'pages-per-second': number;
  'precopy-bytes': number;
  'downtime-bytes': number;
  'postcopy-requests': number;
  'postcopy-bytes': number;
  'dirty-sync-missed-zero-copy': number;
}

/** `query-migrate`'s `xbzrle-cache` member. */
export interface XbzrleStats {
  /** Bytes. */
  cacheSize: number;
  bytes: number;
  pages: number;
  cacheMiss: number;
  cacheMissRate: number;
  encodingRate: number;
  overflow: number;
}

/** `query-migrate`'s `compression` member. */
export interface CompressionStats {
  pages: number;
  busy: number;
  busyRate: number;
  /** Bytes. */
  compressedSize: number;
  compressionRate: number;
}

/** All that `query-migrate` tells, in any state; also one line of `--json`. What does not apply is absent. */
export interface Progress {
  status: MigrationStatus;
  role: 'source' | 'destination';
  /** Since the migration began; of one that is over, how long it took. */
  elapsedMs: number;
  ram: RamStats;
  /** Source: from the beginning to the state `active`. */
  setupTimeMs?: number;
  /** Source, completed: how long the guest stood still. */
  downtimeMs?: number;
  /**
   * Source, not over: how long what was dirty at the last sync takes at the bandwidth that is expected of the
   * switch-over; the limit before that is known.
   */
  expectedDowntimeMs?: number;
  /** Source only: estimated time to completion; absent when the guest dirties faster than the link carries. */
  etaMs?: number;
  /** With the capability xbzrle. */
  xbzrleCache?: XbzrleStats;
  /** With the capability compress. */
  compression?: CompressionStats;
  /** While auto-converge throttles the guest. */
  cpuThrottlePercentage?: number;
  /** While dirty-limit throttles the guest. */
  dirtyLimitThrottleTimePerRoundUs?: number;
  dirtyLimitRingFullTimeUs?: number;
  /** The first error of a migration that failed. */
  errorDesc?: string;
  channels: ChannelStats[];
}

/** The counters of a migration that has moved nothing yet. */
export function emptyRamStats(): RamStats {
  return {
    transferred: 0,
    remaining: 0,
    total: 0,
    duplicate: 0,
    normal: 0,
    'normal-bytes': 0,
    'dirty-pages-rate': 0,
    mbps: 0,
    'dirty-sync-count': 0,
    'page-size': 4096,
    'multifd-bytes': 0,
    'pages-per-second': 0,
    'precopy-bytes': 0,
    'downtime-bytes': 0,
    'postcopy-requests': 0,
    'postcopy-bytes': 0,
    'dirty-sync-missed-zero-copy': 0,
  };
}

/** How a migration ended, when it ended well. */
export interface MigrationResult {
  status: 'completed';
  role: 'source' | 'destination';
  totalTimeMs: number;
  /** Source: from the guest's stop to the destination's success (or the last byte, without return path). */
  downtimeMs: number;
  setupTimeMs: number;
  ram: RamStats;
  /** Source, with the capability xbzrle. */
  xbzrleCache?: XbzrleStats;
  channels: ChannelStats[];
  /** Whether the destination's success was reported over a return path. */
  returnPath: boolean;
  /** Things that a person should know, such as a missing return path. */
  warnings: string[];
}
