import type { CapabilityName } from './capabilities.ts';
import {
  NO_BITMAPS,
  NO_BLOCK,
  NO_COLO,
  NO_CPR,
  NO_DIRECT_IO,
  NO_POSTCOPY,
  NO_QATZIP,
  NO_TLS,
  type Uses,
} from './use.ts';
import { isAlive, type Lifetime, type QemuVersion } from './version.ts';

/**
 * Every parameter of migrate-set-parameters and query-migrate-parameters, QEMU 5.1 to 10.2: what it takes,
 * when it was there, and what it sets here. Plain data: types, checks, answers, flags and the table in
 * docs/parameters.md are made from it.
 */

/** QEMU's types. `size` is a uint64 in bytes or in nothing; `string` also takes null for the empty one. */
type ParameterType =
  | 'size'
  | 'uint64'
  | 'uint32'
  | 'uint8'
  | 'bool'
  | 'string'
  | 'enum'
  | 'strings'
  | 'bitmap-mapping';

type Unit = 'bytes' | 'bytes/s' | 'MiB/s' | 'ms' | '%';

export type ParameterValue = number | bigint | boolean | string | readonly unknown[];

export interface Parameter extends Lifetime, Uses {
  readonly type: ParameterType;
  readonly unit?: Unit;
  /** Checked after the types of all members. */
  readonly range?: { readonly least: number; readonly most?: number };
  /** `enum`: values with the release in which each came. */
  readonly values?: Readonly<Record<string, QemuVersion>>;
  /** Absent: not in the answer until it was set. */
  readonly default?: ParameterValue;
  /** The capability without which it does nothing. */
  readonly with?: CapabilityName;
  /** Not set: what the machine type says, so the option is only given when it was set. */
  readonly machineDecides?: true;
  readonly about: string;
}

const percent = { type: 'uint8', unit: '%' } as const;
const announceTime = {
  type: 'size',
  unit: 'ms',
  range: { least: 0, most: 100_000 },
  since: '4.0',
} as const;

/** In the order of QEMU's schema, which is that of its answers and of its checks. */
export const PARAMETERS = {
  'announce-initial': {
    ...announceTime,
    default: 50,
    destination: 'announceInitialMs',
    about: 'time from the first to the second announcement of the NICs after a migration',
  },
  'announce-max': {
    ...announceTime,
    default: 550,
    destination: 'announceMaxMs',
    about: 'longest time between two announcements',
  },
  'announce-rounds': {
    type: 'size',
    range: { least: 0, most: 1000 },
    default: 5,
    since: '4.0',
    destination: 'announceRounds',
    about: 'number of announcements',
  },
  'announce-step': {
    type: 'size',
    unit: 'ms',
    range: { least: 1, most: 10_000 },
    default: 100,
    since: '4.0',
    destination: 'announceStepMs',
    about: 'by how much the time between two announcements grows',
  },
  'compress-level': {
    type: 'uint8',
    range: { least: 0, most: 9 },
    default: 1,
    since: '2.4',
    removed: '9.1',
    source: 'compressLevel',
    with: 'compress',
    about: 'level of the compress threads; 0: none, 9: best',
  },
  'compress-threads': {
    type: 'uint8',
    range: { least: 1, most: 255 },
    default: 8,
    since: '2.4',
    removed: '9.1',
    source: 'compressThreads',
    with: 'compress',
    about: 'number of compress threads',
  },
  'compress-wait-thread': {
    type: 'bool',
    default: true,
    since: '3.1',
    removed: '9.1',
    source: 'compressWaitThread',
    with: 'compress',
    about: 'whether a page waits for a free compress thread, or is sent uncompressed',
  },
  'decompress-threads': {
    type: 'uint8',
    range: { least: 1, most: 255 },
    default: 2,
    since: '2.4',
    removed: '9.1',
    destination: 'decompressThreads',
    with: 'compress',
    about: 'number of decompress threads',
  },
  'throttle-trigger-threshold': {
    ...percent,
    range: { least: 1, most: 100 },
    default: 50,
    since: '5.0',
    source: 'throttleTriggerThreshold',
    with: 'auto-converge',
    about: 'how much of what was sent may be dirtied meanwhile before the guest is throttled',
  },
  'cpu-throttle-initial': {
    ...percent,
    range: { least: 1, most: 99 },
    default: 20,
    since: '2.7',
    source: 'cpuThrottleInitial',
    with: 'auto-converge',
    about: 'by how much the vCPUs are throttled at first',
  },
  'cpu-throttle-increment': {
    ...percent,
    range: { least: 1, most: 99 },
    default: 10,
    since: '2.7',
    source: 'cpuThrottleIncrement',
    with: 'auto-converge',
    about: 'by how much the throttling grows',
  },
  'cpu-throttle-tailslow': {
    type: 'bool',
    default: false,
    since: '5.1',
    source: 'cpuThrottleTailslow',
    with: 'auto-converge',
    about: 'smaller steps near the end of the throttling',
  },
  'tls-creds': {
    type: 'string',
    default: '',
    since: '2.7',
    source: NO_TLS,
    destination: NO_TLS,
    about: 'id of the credentials for TLS',
  },
  'tls-hostname': {
    type: 'string',
    default: '',
    since: '2.7',
    source: NO_TLS,
    about: "name that the destination's certificate must have",
  },
  'tls-authz': {
    type: 'string',
    default: '',
    since: '4.0',
    destination: NO_TLS,
    about: "id of the check of the source's certificate",
  },
  'max-bandwidth': {
    type: 'size',
    unit: 'bytes/s',
    default: 134_217_728,
    since: '2.8',
    source: 'maxBandwidthBytesPerSecond',
    about: 'limit over all channels together; 0: none',
  },
  'avail-switchover-bandwidth': {
    type: 'size',
    unit: 'bytes/s',
    default: 0,
    since: '8.2',
    source: 'availSwitchoverBandwidthBytesPerSecond',
    about: 'what the link will carry at the switch-over; 0: what is measured',
  },
  'downtime-limit': {
    type: 'uint64',
    unit: 'ms',
    range: { least: 0, most: 2_000_000 },
    default: 300,
    since: '2.8',
    source: 'downtimeLimitMs',
    about: 'how long the guest may stand still at the switch-over',
  },
  'x-checkpoint-delay': {
    type: 'uint32',
    unit: 'ms',
    default: 20_000,
    since: '2.8',
    source: NO_COLO,
    with: 'x-colo',
    about: 'time between two checkpoints of COLO',
  },
  'block-incremental': {
    type: 'bool',
    default: false,
    since: '2.10',
    removed: '9.1',
    source: NO_BLOCK,
    with: 'block',
    about: 'only the topmost image of each disk is migrated',
  },
  'multifd-channels': {
    type: 'uint8',
    range: { least: 1, most: 255 },
    default: 2,
    since: '4.0',
    source: 'multifdChannels',
    destination: 'multifdChannels',
    with: 'multifd',
    about: 'number of multifd channels, the same on both sides',
  },
  'xbzrle-cache-size': {
    type: 'size',
    unit: 'bytes',
    default: 67_108_864,
    since: '2.11',
    source: 'xbzrleCacheSizeBytes',
    with: 'xbzrle',
    about: "size of XBZRLE's cache of pages: a power of two, a page at least",
  },
  'max-postcopy-bandwidth': {
    type: 'size',
    unit: 'bytes/s',
    default: 0,
    since: '3.0',
    source: NO_POSTCOPY,
    with: 'postcopy-ram',
    about: 'limit of the background transfer in postcopy; 0: none',
  },
  'max-cpu-throttle': {
    ...percent,
    range: { least: 1, most: 99 },
    default: 99,
    since: '3.1',
    source: 'maxCpuThrottle',
    with: 'auto-converge',
    about: 'limit of the throttling, from cpu-throttle-initial on',
  },
  'multifd-compression': {
    type: 'enum',
    values: { none: '5.0', zlib: '5.0', zstd: '5.0' },
    default: 'none',
    since: '5.0',
    source: 'multifdCompression',
    destination: 'multifdCompression',
    with: 'multifd',
    about: 'compression of the multifd channels, the same on both sides',
  },
  'multifd-zlib-level': {
    type: 'uint8',
    range: { least: 0, most: 9 },
    default: 1,
    since: '5.0',
    source: 'multifdZlibLevel',
    with: 'multifd',
    about: '0: none, 9: best',
  },
  'multifd-qatzip-level': {
    type: 'uint8',
    range: { least: 1, most: 9 },
    default: 1,
    since: '9.2',
    source: NO_QATZIP,
    with: 'multifd',
    about: '1: fastest, 9: best',
  },
  'multifd-zstd-level': {
    type: 'uint8',
    range: { least: 0, most: 20 },
    default: 1,
    since: '5.0',
    source: 'multifdZstdLevel',
    with: 'multifd',
    about: '0: none, 20: best',
  },
  'block-bitmap-mapping': {
    type: 'bitmap-mapping',
    since: '5.2',
    source: NO_BITMAPS,
    destination: NO_BITMAPS,
    with: 'dirty-bitmaps',
    about: 'names of disks and their dirty bitmaps in the stream',
  },
  'x-vcpu-dirty-limit-period': {
    type: 'uint64',
    unit: 'ms',
    range: { least: 1, most: 1000 },
    default: 1000,
    since: '8.1',
    source: 'vcpuDirtyLimitPeriodMs',
    with: 'dirty-limit',
    about: "how often the vCPUs' dirty rates are measured for dirty-limit",
  },
  'vcpu-dirty-limit': {
    type: 'uint64',
    unit: 'MiB/s',
    range: { least: 1 },
    default: 1,
    since: '8.1',
    source: 'vcpuDirtyLimitMiBPerSecond',
    with: 'dirty-limit',
    about: 'limit of the dirty rate of each vCPU for dirty-limit',
  },
  mode: {
    type: 'enum',
    values: { normal: '8.2', 'cpr-reboot': '8.2', 'cpr-transfer': '10.0', 'cpr-exec': '10.2' },
    default: 'normal',
    since: '8.2',
    source: NO_CPR,
    destination: NO_CPR,
    about: 'a migration to another process, or to a new QEMU that takes over memory',
  },
  'zero-page-detection': {
    type: 'enum',
    values: { none: '9.0', legacy: '9.0', multifd: '9.0' },
    default: 'multifd',
    machineDecides: true,
    since: '9.0',
    source: 'zeroPageDetection',
    about: 'where zero pages are found: nowhere, on the main channel, on the multifd channels',
  },
  'direct-io': {
    type: 'bool',
    default: false,
    since: '9.1',
    source: NO_DIRECT_IO,
    destination: NO_DIRECT_IO,
    with: 'mapped-ram',
    about: 'a mapped-ram file is written past the page cache',
  },
  'cpr-exec-command': {
    type: 'strings',
    default: [],
    since: '10.2',
    source: NO_CPR,
    about: 'command line of the QEMU that takes over in mode cpr-exec',
  },
} as const satisfies Record<string, Parameter>;

export type ParameterName = keyof typeof PARAMETERS;

/** The parameters that QEMU `version` has, in the order of its answer. */
export function parametersOf(version: QemuVersion): [ParameterName, Parameter][] {
  const all = Object.entries(PARAMETERS) as [ParameterName, Parameter][];
  return all.filter(([, parameter]) => isAlive(parameter, version));
}
