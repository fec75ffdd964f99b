import { checkInteger } from '../check-integer.ts';
import { MigrationError } from '../error.ts';
import { checkRanges, isPowerOfTwo } from './schema/range.ts';
import { checkSnapshotOptions } from './snapshot-options.ts';

/**
 * Options of both sides, with QEMU's parameter and capability names (kebab-case in QMP and in CLI flags,
 * camelCase here, units last). Plain data: they cross threads.
 */

/** What a multifd channel may carry. `lz4` and `adaptive` (a codec for each packet) only between two pageferrys. */
export const MULTIFD_COMPRESSIONS = ['none', 'zlib', 'zstd', 'lz4', 'adaptive'] as const;
export type MultifdCompression = (typeof MULTIFD_COMPRESSIONS)[number];

/** Which implementation of a codec does the work; the default per codec is measured, see docs/codecs.md. */
export const CODEC_BACKENDS = ['libzstd', 'minizlib', 'mongodb-zstd', 'pako', 'lz4-napi'] as const;
export type CodecBackend = (typeof CODEC_BACKENDS)[number];

export const ZERO_PAGE_DETECTIONS = ['none', 'legacy', 'multifd'] as const;
export type ZeroPageDetection = (typeof ZERO_PAGE_DETECTIONS)[number];

interface CommonOptions {
  /** Capability `multifd`: pages travel on channels of their own. */
  multifd?: boolean;
  /** Number of multifd channels, 1 to 255. */
  multifdChannels?: number;
  multifdCompression?: MultifdCompression;
  multifdBackend?: CodecBackend;
  /** Capability `x-ignore-shared`: memory that both sides have mapped shared stays where it is. */
  ignoreShared?: boolean;
  /** Capability `switchover-ack`: the source waits with the switch-over until the destination agrees to it. */
  switchoverAck?: boolean;
  /** Overrides what the machine version (at a destination: the stream) says: a configuration section comes first. */
  sendConfiguration?: boolean;
  /** Overrides what the machine version (at a destination: the stream) says: sections end with a footer. */
  sendSectionFooter?: boolean;
  /** Capability `compress`, of QEMU up to 9.0: threads compress the pages of the main channel, each by itself. */
  compress?: boolean;
  /** Limit of a connection attempt, in ms. */
  connectTimeoutMs?: number;
  /** How long a channel that is owed may take to come, in ms. */
  channelTimeoutMs?: number;
  /** How long nothing may move while something is owed, in ms; 0: for ever. */
  stallTimeoutMs?: number;
}

/** Options of the source. */
export interface MigrateOptions extends CommonOptions {
  /** Capability `validate-uuid`: the guest's UUID is sent, and a destination that has another one refuses. */
  validateUuid?: boolean;
  /** Capability `release-ram`. It frees what was sent in postcopy alone: in precopy the guest may have to go on here. */
  releaseRam?: boolean;
  /** Whether the guest's run state is sent (section `globalstate`); by default if the guest brings one. */
  storeGlobalState?: boolean;
  /** Overrides what the machine version says: no vmdescription follows the device sections (up to 2.2). */
  suppressVmdesc?: boolean;
  /** 0 to 9. */
  multifdZlibLevel?: number;
  /** 0 to 20. */
  multifdZstdLevel?: number;
  /** Level of the compress threads, 0 (stored) to 9. */
  compressLevel?: number;
  /** 1 to 255; each has its batch of pages under way, and no more run than there are processors. */
  compressThreads?: number;
  /** Whether a page waits for a free compress thread, or is sent uncompressed. */
  compressWaitThread?: boolean;
  /** Bytes per second over all channels together; 0: unlimited. (QEMU's default is 128 MiB/s.) */
  maxBandwidthBytesPerSecond?: number;
  /** How long the guest may stand still at the switch-over, in ms. */
  downtimeLimitMs?: number;
  /** Bytes per second that the link is sure to carry at the switch-over; 0: what was measured while the guest ran. */
  availSwitchoverBandwidthBytesPerSecond?: number;
  /** Capability `auto-converge`: a guest that dirties memory faster than it is sent is throttled, step by step. */
  autoConverge?: boolean;
  /** How much of its time a throttled guest stands still at first, 1 to 99 percent. */
  cpuThrottleInitial?: number;
  /** By how much that grows with each step, 1 to 99 percent. */
  cpuThrottleIncrement?: number;
  /** Smaller steps when less is enough. */
  cpuThrottleTailslow?: boolean;
  /** The most that it grows to, `cpuThrottleInitial` to 99 percent. */
  maxCpuThrottle?: number;
  /** How much may be dirtied of what is sent meanwhile before the guest is throttled, 1 to 100 percent. */
  throttleTriggerThreshold?: number;
  /** Capability `dirty-limit`: as auto-converge, but only vCPUs that dirty more than the limit are slowed down. */
  dirtyLimit?: boolean;
  /** 1 or more. */
  vcpuDirtyLimitMiBPerSecond?: number;
  /** Over how long each vCPU's rate is measured, 1 to 1000 ms. */
  vcpuDirtyLimitPeriodMs?: number;
  /** Capability `return-path`: on for every duplex transport unless turned off. */
  returnPath?: boolean;
  /** Overrides what the machine version says: multifd sync at every section's end (QEMU up to 8.0). */
  multifdFlushAfterEachSection?: boolean;
  /** Overrides what the machine version says: where zero pages travel. */
  zeroPageDetection?: ZeroPageDetection;
  /** Overrides what the machine version says: the SWITCHOVER_START command (QEMU from 10.0). */
  sendSwitchoverStart?: boolean;
  /** Capability `xbzrle`: a page that was sent before is sent as what has changed in it. */
  xbzrle?: boolean;
  /** Size of its cache of pages in bytes: a power of two, 4096 or more. */
  xbzrleCacheSizeBytes?: number;
  /** Capability `pause-before-switchover`: with the guest stopped, waits in `pre-switchover` for `continue`. */
  pauseBeforeSwitchover?: boolean;
  /**
   * Capability `background-snapshot`: RAM and devices are sent as they are at the start, while the guest runs on here.
   * Takes a guest with write tracking, such as the built-in machine. `returnPath` is off with it, and as in QEMU no
   * bandwidth limit holds.
   */
  backgroundSnapshot?: boolean;
  /**
   * Capability `mapped-ram`: every page at a fixed place of a file (QEMU from 9.0 loads it). Only to `file:`,
   * without compression. With `multifd` as many threads write as there are channels, otherwise one.
   */
  mappedRam?: boolean;
}

/** Options of the destination. */
export interface ReceiveOptions extends CommonOptions {
  /** The machine type that must come; needed where the stream does not say which one does. */
  machine?: string;
  /** Overrides what the stream says: multifd sync at every section's end. */
  multifdFlushAfterEachSection?: boolean;
  /** With capability `compress`, 1 to 255; as `compressThreads`. */
  decompressThreads?: number;
  /** Overrides what the machine version says: whether a compressed page that cannot be inflated is an error. */
  decompressErrorCheck?: boolean;
  /** Pause between the first and the second announcement of the guest that has arrived, 0 to 100000 ms. */
  announceInitialMs?: number;
  /** No pause is longer than this, 0 to 100000 ms. */
  announceMaxMs?: number;
  /** Number of announcements, 0 to 1000. */
  announceRounds?: number;
  /** By this much each pause is longer than the one before, 1 to 10000 ms. */
  announceStepMs?: number;
}

/** QEMU's defaults, but for max-bandwidth (unlimited here) and return-path (on where it can be). */
export const MIGRATE_DEFAULTS = {
  multifd: false,
  multifdChannels: 2,
  multifdCompression: 'none',
  multifdZlibLevel: 1,
  multifdZstdLevel: 1,
  compress: false,
  compressLevel: 1,
  compressThreads: 8,
  compressWaitThread: true,
  maxBandwidthBytesPerSecond: 0,
  downtimeLimitMs: 300,
  availSwitchoverBandwidthBytesPerSecond: 0,
  autoConverge: false,
  cpuThrottleInitial: 20,
  cpuThrottleIncrement: 10,
  cpuThrottleTailslow: false,
  maxCpuThrottle: 99,
  throttleTriggerThreshold: 50,
  dirtyLimit: false,
  vcpuDirtyLimitMiBPerSecond: 1,
  vcpuDirtyLimitPeriodMs: 1000,
  returnPath: true,
  mappedRam: false,
  xbzrle: false,
  xbzrleCacheSizeBytes: 64 * 1024 * 1024,
  pauseBeforeSwitchover: false,
  ignoreShared: false,
  validateUuid: false,
  releaseRam: false,
  switchoverAck: false,
  backgroundSnapshot: false,
  connectTimeoutMs: 10_000,
  channelTimeoutMs: 10_000,
  stallTimeoutMs: 60_000,
} as const satisfies MigrateOptions;

/** Options with every default filled in; what stays optional is derived from the stream or the machine. */
export type ResolvedMigrateOptions = MigrateOptions &
  Required<Pick<MigrateOptions, keyof typeof MIGRATE_DEFAULTS>>;

/** What can be changed while the migration runs, and takes effect at once; as QEMU. */
export const LIVE_PARAMETERS = [
  'maxBandwidthBytesPerSecond',
  'downtimeLimitMs',
  'xbzrleCacheSizeBytes',
  'availSwitchoverBandwidthBytesPerSecond',
  'cpuThrottleInitial',
  'cpuThrottleIncrement',
  'cpuThrottleTailslow',
  'maxCpuThrottle',
  'throttleTriggerThreshold',
  'vcpuDirtyLimitMiBPerSecond',
  'vcpuDirtyLimitPeriodMs',
] as const satisfies readonly (keyof MigrateOptions)[];
export type LiveParameters = Pick<MigrateOptions, (typeof LIVE_PARAMETERS)[number]>;

/** QEMU's defaults of what a destination alone has. */
const RECEIVE_DEFAULTS = {
  decompressThreads: 2,
  announceInitialMs: 50,
  announceMaxMs: 550,
  announceRounds: 5,
  announceStepMs: 100,
} as const satisfies ReceiveOptions;

const COMMON_DEFAULT_KEYS = [
  'multifd',
  'multifdChannels',
  'multifdCompression',
  'ignoreShared',
  'switchoverAck',
  'compress',
  'connectTimeoutMs',
  'channelTimeoutMs',
  'stallTimeoutMs',
] as const;
type ResolvedCommonOptions = CommonOptions &
  Required<Pick<CommonOptions, (typeof COMMON_DEFAULT_KEYS)[number]>>;
export type ResolvedReceiveOptions = ReceiveOptions &
  ResolvedCommonOptions &
  Required<Pick<ReceiveOptions, keyof typeof RECEIVE_DEFAULTS>>;

/** Fills in defaults and checks ranges. @throws MigrationError `bad-option` */
export function resolveMigrateOptions(options: MigrateOptions = {}): ResolvedMigrateOptions {
  const resolved = { ...MIGRATE_DEFAULTS, ...defined(options) };
  checkRanges('source', resolved);
  checkCommon(resolved);
  if (resolved.backgroundSnapshot) {
    checkSnapshotOptions(options);
    resolved.returnPath = false;
  }
  if (resolved.zeroPageDetection !== undefined) {
    checkOneOf('zero-page-detection', resolved.zeroPageDetection, ZERO_PAGE_DETECTIONS);
  }
  checkThrottle(resolved);
  if (resolved.switchoverAck && !resolved.returnPath) {
    throw new MigrationError('bad-option', 'switchover-ack needs return-path', { found: 'return-path off' });
  }
  if (resolved.mappedRam) checkMappedRam(resolved);
  checkXbzrle(resolved);
  return resolved;
}

/**
 * Changes options of a migration that runs, all or none of them.
 * @throws MigrationError `bad-option` for one that cannot be changed, or to a value that is not allowed
 */
export function applyLiveParameters(live: ResolvedMigrateOptions, changes: LiveParameters): void {
  const allowed: readonly string[] = LIVE_PARAMETERS;
  const fixed = Object.keys(changes).find((name) => !allowed.includes(name));
  if (fixed !== undefined) {
    throw new MigrationError('bad-option', 'an option cannot be changed while the migration runs', {
      found: fixed,
      expected: LIVE_PARAMETERS.join(', '),
    });
  }
  Object.assign(live, resolveMigrateOptions({ ...live, ...defined(changes) }));
}

/** Fills in defaults and checks ranges. @throws MigrationError `bad-option` */
export function resolveReceiveOptions(options: ReceiveOptions = {}): ResolvedReceiveOptions {
  const defaults = Object.fromEntries(COMMON_DEFAULT_KEYS.map((key) => [key, MIGRATE_DEFAULTS[key]])) as Pick<
    typeof MIGRATE_DEFAULTS,
    (typeof COMMON_DEFAULT_KEYS)[number]
  >;
  const resolved = { ...RECEIVE_DEFAULTS, ...defaults, ...defined(options) };
  checkRanges('destination', resolved);
  checkCommon(resolved);
  return resolved;
}

function checkCommon(options: ResolvedCommonOptions): void {
  if (options.compress && options.multifd)
    throw new MigrationError('bad-option', 'multifd does not go with compress');
  checkOneOf('multifd-compression', options.multifdCompression, MULTIFD_COMPRESSIONS);
  if (options.multifdBackend !== undefined)
    checkOneOf('multifd-backend', options.multifdBackend, CODEC_BACKENDS);
  for (const [name, value] of [
    ['connect-timeout', options.connectTimeoutMs],
    ['channel-timeout', options.channelTimeoutMs],
    ['stall-timeout', options.stallTimeoutMs],
  ] as const) {
    checkInteger(name, value, 0, 2 ** 31 - 1);
  }
}

/** What the table of parameters does not say of throttling. */
function checkThrottle(options: ResolvedMigrateOptions): void {
  const { cpuThrottleInitial, maxCpuThrottle, autoConverge, dirtyLimit } = options;
  checkInteger('max-cpu-throttle', maxCpuThrottle, cpuThrottleInitial, 99);
  if (autoConverge && dirtyLimit)
    throw new MigrationError('bad-option', 'auto-converge and dirty-limit do not go together');
}

/** The pages of a mapped-ram file are raw, and no sync point is in it. */
function checkMappedRam(options: ResolvedMigrateOptions): void {
  const { multifdCompression, multifdBackend, multifdFlushAfterEachSection, compress } = options;
  const contradicts = (name: string, found: string, expected?: string) =>
    new MigrationError('bad-option', `mapped-ram does not go with ${name}`, { found, expected });
  if (multifdCompression !== 'none') throw contradicts('compression', multifdCompression, 'none');
  if (compress) throw contradicts('compress', 'on', 'off');
  if (multifdBackend !== undefined) throw contradicts('multifd-backend', multifdBackend);
  if (multifdFlushAfterEachSection !== undefined)
    throw contradicts('multifd-flush-after-each-section', multifdFlushAfterEachSection ? 'on' : 'off');
  // Where it is, the list of its blocks cannot be read by any QEMU.
  if (options.ignoreShared) throw contradicts('x-ignore-shared', 'on', 'off');
  // That the file is one stands in its configuration.
  if (options.sendConfiguration === false) throw contradicts('send-configuration', 'off', 'on');
}

/** As QEMU from 8.2 on. Before, multifd and xbzrle together meant multifd. */
function checkXbzrle(options: ResolvedMigrateOptions): void {
  const { xbzrle, xbzrleCacheSizeBytes: bytes, multifd, mappedRam } = options;
  if (bytes < 4096 || !isPowerOfTwo(bytes)) {
    throw new MigrationError('bad-option', 'xbzrle-cache-size is no size of a cache', {
      found: String(bytes),
      expected: 'a power of two, 4096 or more',
    });
  }
  if (xbzrle && multifd) throw new MigrationError('bad-option', 'multifd does not go with xbzrle');
  if (xbzrle && mappedRam) throw new MigrationError('bad-option', 'mapped-ram does not go with xbzrle');
}

function checkOneOf(name: string, value: string, allowed: readonly string[]): void {
  if (allowed.includes(value)) return;
  throw new MigrationError('bad-option', `${name} is not known`, {
    found: value,
    expected: allowed.join(', '),
  });
}

function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
