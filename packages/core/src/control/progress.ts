import type { ChannelStats } from '../page-channels.ts';

/** The states of a migration, QEMU's names. */
export type MigrationStatus =
  | 'none'
  | 'setup'
  | 'active'
  | 'device'
  | 'cancelling'
  | 'completed'
  | 'failed'
  | 'cancelled';

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
}

/** What a progress display needs; also one line of `--json`. */
export interface Progress {
  status: MigrationStatus;
  role: 'source' | 'destination';
  elapsedMs: number;
  ram: RamStats;
  /** Source only, once a bandwidth was measured. */
  expectedDowntimeMs?: number;
  /** Source only: estimated time to completion; absent when the guest dirties faster than the link carries. */
  etaMs?: number;
  channels: ChannelStats[];
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
  channels: ChannelStats[];
  /** Whether the destination's success was reported over a return path. */
  returnPath: boolean;
  /** Things that a person should know, such as a missing return path. */
  warnings: string[];
}
