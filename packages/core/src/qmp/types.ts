/**
 * What QMP's commands take and give, as far as migration needs them (QEMU's qapi schema, 7.2 to 10.0). Members that
 * only some versions have are optional. Sizes are bytes and times milliseconds unless a comment says otherwise.
 */

export interface QmpVersion {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
  readonly package: string;
}

export const RUN_STATES = [
  'debug',
  'inmigrate',
  'internal-error',
  'io-error',
  'paused',
  'postmigrate',
  'prelaunch',
  'finish-migrate',
  'restore-vm',
  'running',
  'save-vm',
  'shutdown',
  'suspended',
  'watchdog',
  'guest-panicked',
  'colo',
  'preconfig',
] as const;
export type RunState = (typeof RUN_STATES)[number];

export interface StatusInfo {
  status: RunState;
  running: boolean;
  /** Up to 8.2. */
  singlestep?: boolean;
}

/** Every state of a migration in any version. */
export const QMP_MIGRATION_STATUSES = [
  'none',
  'setup',
  'cancelling',
  'cancelled',
  'active',
  'postcopy-device',
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover-setup',
  'postcopy-recover',
  'completed',
  'failed',
  'colo',
  'pre-switchover',
  'device',
  'wait-unplug',
] as const;
export type QmpMigrationStatus = (typeof QMP_MIGRATION_STATUSES)[number];

export interface MigrationStats {
  transferred: number;
  remaining: number;
  total: number;
  duplicate: number;
  /** Up to 9.0; always 0. */
  skipped?: number;
  normal: number;
  'normal-bytes': number;
  /** Pages per second. */
  'dirty-pages-rate': number;
  /** Megabits per second. */
  mbps: number;
  'dirty-sync-count': number;
  'postcopy-requests': number;
  'page-size': number;
  'multifd-bytes': number;
  'pages-per-second': number;
  'precopy-bytes': number;
  'downtime-bytes': number;
  'postcopy-bytes': number;
  'dirty-sync-missed-zero-copy': number;
}

export interface XbzrleCacheStats {
  'cache-size': number;
  bytes: number;
  pages: number;
  'cache-miss': number;
  'cache-miss-rate': number;
  'encoding-rate': number;
  overflow: number;
}

export interface CompressionStats {
  pages: number;
  busy: number;
  'busy-rate': number;
  'compressed-size': number;
  'compression-rate': number;
}

/** Where a destination listens. */
export type SocketAddressInfo =
  | { type: 'inet'; host: string; port: string; ipv4?: boolean; ipv6?: boolean }
  | { type: 'unix'; path: string }
  | { type: 'vsock'; cid: string; port: string }
  | { type: 'fd'; str: string };

/** The answer to `query-migrate`. */
export interface MigrationInfo {
  status?: QmpMigrationStatus;
  ram?: MigrationStats;
  'xbzrle-cache'?: XbzrleCacheStats;
  /** Up to 9.0. */
  compression?: CompressionStats;
  'total-time'?: number;
  'setup-time'?: number;
  'expected-downtime'?: number;
  downtime?: number;
  /** Percent. */
  'cpu-throttle-percentage'?: number;
  'error-desc'?: string;
  'blocked-reasons'?: string[];
  'socket-address'?: SocketAddressInfo[];
  /** Microseconds, from 8.1. */
  'dirty-limit-throttle-time-per-round'?: number;
  'dirty-limit-ring-full-time'?: number;
}

export interface MigrationCapabilityStatus {
  capability: string;
  state: boolean;
}

/** An address of the `channels` form of `migrate` (from 8.2). */
export type QmpMigrationAddress =
  | ({ transport: 'socket' } & (
      | {
          type: 'inet';
          host: string;
          port: string;
          numeric?: boolean;
          to?: number;
          ipv4?: boolean;
          ipv6?: boolean;
          'keep-alive'?: boolean;
          mptcp?: boolean;
        }
      | { type: 'unix'; path: string; abstract?: boolean; tight?: boolean }
      | { type: 'vsock'; cid: string; port: string }
      | { type: 'fd'; str: string }
    ))
  | { transport: 'exec'; args: string[] }
  | { transport: 'rdma'; host: string; port: string }
  | { transport: 'file'; filename: string; offset: number };

export interface MigrationChannel {
  'channel-type': 'main' | 'cpr';
  addr: QmpMigrationAddress;
}

export type DirtyRateMode = 'page-sampling' | 'dirty-ring' | 'dirty-bitmap';
export type DirtyRateUnit = 'second' | 'millisecond';

export interface DirtyRateInfo {
  /** MiB/s. */
  'dirty-rate'?: number;
  status: 'unstarted' | 'measuring' | 'measured';
  /** Seconds. */
  'start-time': number;
  /** In units of `calc-time-unit`; seconds up to 8.1. */
  'calc-time': number;
  'calc-time-unit'?: DirtyRateUnit;
  'sample-pages': number;
  mode: DirtyRateMode;
  'vcpu-dirty-rate'?: { id: number; 'dirty-rate': number }[];
}

export interface DirtyLimitInfo {
  'cpu-index': number;
  /** MB/s. */
  'limit-rate': number;
  'current-rate': number;
}

/** Names and types of the commands' arguments and results; a command that is not here takes and gives anything. */
export interface QmpCommands {
  'announce-self': {
    arguments: {
      initial: number;
      max: number;
      rounds: number;
      step: number;
      interfaces?: string[];
      id?: string;
    };
    return: Nothing;
  };
  'calc-dirty-rate': {
    arguments: {
      'calc-time': number;
      'calc-time-unit'?: DirtyRateUnit;
      'sample-pages'?: number;
      mode?: DirtyRateMode;
    };
    return: Nothing;
  };
  'cancel-vcpu-dirty-limit': { arguments: { 'cpu-index'?: number }; return: Nothing };
  cont: { arguments: Nothing; return: Nothing };
  'human-monitor-command': { arguments: { 'command-line': string; 'cpu-index'?: number }; return: string };
  migrate: {
    arguments: {
      uri?: string;
      channels?: MigrationChannel[];
      blk?: boolean;
      inc?: boolean;
      detach?: boolean;
      resume?: boolean;
    };
    return: Nothing;
  };
  'migrate-continue': { arguments: { state: QmpMigrationStatus }; return: Nothing };
  'migrate-incoming': {
    arguments: { uri?: string; channels?: MigrationChannel[]; 'exit-on-error'?: boolean };
    return: Nothing;
  };
  'migrate-pause': { arguments: Nothing; return: Nothing };
  'migrate-set-capabilities': {
    arguments: { capabilities: MigrationCapabilityStatus[] };
    return: Nothing;
  };
  'migrate-set-parameters': { arguments: Record<string, unknown>; return: Nothing };
  migrate_cancel: { arguments: Nothing; return: Nothing };
  qmp_capabilities: { arguments: { enable?: 'oob'[] }; return: Nothing };
  'query-commands': { arguments: Nothing; return: { name: string }[] };
  'query-dirty-rate': { arguments: { 'calc-time-unit'?: DirtyRateUnit }; return: DirtyRateInfo };
  'query-events': { arguments: Nothing; return: { name: string }[] };
  'query-migrate': { arguments: Nothing; return: MigrationInfo };
  'query-migrate-capabilities': { arguments: Nothing; return: MigrationCapabilityStatus[] };
  'query-migrate-parameters': { arguments: Nothing; return: Record<string, unknown> };
  'query-name': { arguments: Nothing; return: { name?: string } };
  'query-status': { arguments: Nothing; return: StatusInfo };
  'query-uuid': { arguments: Nothing; return: { UUID: string } };
  'query-vcpu-dirty-limit': { arguments: Nothing; return: DirtyLimitInfo[] };
  'query-version': { arguments: Nothing; return: QmpVersion };
  quit: { arguments: Nothing; return: Nothing };
  'set-vcpu-dirty-limit': { arguments: { 'cpu-index'?: number; 'dirty-rate': number }; return: Nothing };
  stop: { arguments: Nothing; return: Nothing };
}

type Nothing = Record<string, never>;

/** An event, without the time that it carries on the wire. */
export interface QmpEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** An event as a client gets it. */
export interface QmpTimedEvent extends QmpEvent {
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}
