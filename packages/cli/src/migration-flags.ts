import { MigrationError } from '@pageferry/core';
import {
  CODEC_BACKENDS,
  MIGRATE_DEFAULTS,
  type MigrateOptions,
  MULTIFD_COMPRESSIONS,
  type ReceiveOptions,
  ZERO_PAGE_DETECTIONS,
} from '@pageferry/core/control';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseInteger, parseMilliseconds, parseOnOff, parseSeconds, parseSize } from './values.ts';

/**
 * The flags that set migration parameters and capabilities, with QEMU's names. A command takes the groups
 * that it can use, so that no flag exists which does nothing.
 */

/** `--capability name[=on|off]`, parsed. */
interface CapabilityFlag {
  readonly name: string;
  readonly on: boolean;
}

/** What commander gives for the flags below; every one is absent when it was not given. */
export interface MigrationFlags {
  capability?: CapabilityFlag[];
  multifdChannels?: number;
  multifdCompression?: MigrateOptions['multifdCompression'];
  multifdBackend?: MigrateOptions['multifdBackend'];
  multifdZlibLevel?: number;
  multifdZstdLevel?: number;
  multifdFlushAfterEachSection?: boolean;
  zeroPageDetection?: MigrateOptions['zeroPageDetection'];
  sendSwitchoverStart?: boolean;
  maxBandwidth?: number;
  downtimeLimit?: number;
  connectTimeout?: number;
  channelTimeout?: number;
  stallTimeout?: number;
}

/** Capabilities that QEMU has and pageferry has not (yet). */
const UNSUPPORTED_CAPABILITIES: ReadonlySet<string> = new Set([
  'xbzrle',
  'rdma-pin-all',
  'auto-converge',
  'zero-blocks',
  'compress',
  'events',
  'postcopy-ram',
  'x-colo',
  'release-ram',
  'block',
  'pause-before-switchover',
  'dirty-bitmaps',
  'postcopy-blocktime',
  'late-block-activate',
  'x-ignore-shared',
  'validate-uuid',
  'background-snapshot',
  'zero-copy-send',
  'postcopy-preempt',
  'switchover-ack',
  'dirty-limit',
]);

export type Capability = 'multifd' | 'return-path' | 'mapped-ram';

/** Capabilities that are there, but not to be set by everyone. */
const ELSEWHERE: ReadonlyMap<string, string> = new Map([
  ['return-path', 'is decided by the source'],
  ['mapped-ram', 'belongs to files: pageferry send to file:PATH and receive --format mapped-ram write them'],
]);

/** Adds `--capability` for the capabilities that a command can use. */
export function addCapabilities(command: Command, usable: readonly Capability[]): void {
  const parse = (text: string, before: CapabilityFlag[] | undefined): CapabilityFlag[] => {
    const [name = '', value, ...rest] = text.split('=');
    if (UNSUPPORTED_CAPABILITIES.has(name)) {
      throw new InvalidArgumentError(`Capability ${name} is not supported yet.`);
    }
    if (!usable.some((capability) => capability === name)) {
      const why = ELSEWHERE.get(name) ?? `is not known; there is ${usable.join(', ')}`;
      throw new InvalidArgumentError(`Capability ${name} ${why}.`);
    }
    if (rest.length > 0) throw new InvalidArgumentError('Expected name, name=on or name=off.');
    return [...(before ?? []), { name, on: value === undefined || parseOnOff(value) }];
  };
  const description = `name, name=on or name=off, may be repeated: ${usable.join(', ')}`;
  add(command, new Option('--capability <name>', description).argParser(parse));
}

/** Adds the multifd flags that both sides of a migration must agree on. */
export function addMultifdFlags(command: Command): void {
  const channels = `number of multifd channels, 1 to 255 (default: ${MIGRATE_DEFAULTS.multifdChannels})`;
  const compression = `default: ${MIGRATE_DEFAULTS.multifdCompression}; lz4 and adaptive only between two pageferrys`;
  const backend = 'implementation of the compression (default: the fastest measured)';
  add(command, new Option('--multifd-channels <n>', channels).argParser(parseInteger(1, 255)));
  add(command, new Option('--multifd-compression <method>', compression).choices(MULTIFD_COMPRESSIONS));
  add(command, new Option('--multifd-backend <name>', backend).choices(CODEC_BACKENDS));
  add(
    command,
    new Option('--multifd-flush-after-each-section [on|off]', 'override what the machine version says')
      .preset('on')
      .argParser(parseOnOff),
  );
}

/** Adds the flags that only a source has. */
export function addSourceFlags(command: Command): void {
  const level = (most: number) => `0 to ${most} (default: 1)`;
  const { downtimeLimitMs } = MIGRATE_DEFAULTS;
  add(command, new Option('--multifd-zlib-level <n>', level(9)).argParser(parseInteger(0, 9)));
  add(command, new Option('--multifd-zstd-level <n>', level(20)).argParser(parseInteger(0, 20)));
  add(
    command,
    new Option('--zero-page-detection <how>', 'override what the machine version says').choices(
      ZERO_PAGE_DETECTIONS,
    ),
  );
  add(
    command,
    new Option('--send-switchover-start <on|off>', 'override what the machine version says').argParser(
      parseOnOff,
    ),
  );
  add(
    command,
    new Option(
      '--max-bandwidth <size>',
      "bytes per second over all channels, 0: unlimited (default: 0; QEMU's is 128M)",
    ).argParser(parseSize),
  );
  add(
    command,
    new Option(
      '--downtime-limit <time>',
      `how long the guest may stand still, in ms (default: ${downtimeLimitMs})`,
    ).argParser(parseMilliseconds),
  );
}

/** Adds time limits: `connect` only where a connection is made. */
export function addTimeLimits(command: Command, sides: { connect: boolean }): void {
  const { connectTimeoutMs, channelTimeoutMs, stallTimeoutMs } = MIGRATE_DEFAULTS;
  const seconds = (ms: number) => `(default: ${ms / 1000}s)`;
  if (sides.connect) {
    const description = `limit of a connection attempt ${seconds(connectTimeoutMs)}`;
    add(command, new Option('--connect-timeout <time>', description).argParser(parseSeconds));
  }
  const channel = `how long an expected channel may take to come ${seconds(channelTimeoutMs)}`;
  const stall = `how long no byte may move while something is owed, 0: for ever ${seconds(stallTimeoutMs)}`;
  add(command, new Option('--channel-timeout <time>', channel).argParser(parseSeconds));
  add(command, new Option('--stall-timeout <time>', stall).argParser(parseSeconds));
}

function add(command: Command, option: Option): void {
  command.addOption(option.helpGroup('Migration options:'));
}

/**
 * Options of the source.
 *
 * @param multifdDefault whether multifd is on when neither a capability nor a multifd flag says
 */
export function toMigrateOptions(flags: MigrationFlags, multifdDefault: boolean): MigrateOptions {
  const capabilities = capabilityMap(flags);
  checkLevels(flags);
  return definedOnly<MigrateOptions>({
    ...commonOptions(flags, multifdDefault),
    returnPath: capabilities.get('return-path'),
    mappedRam: capabilities.get('mapped-ram'),
    multifdZlibLevel: flags.multifdZlibLevel,
    multifdZstdLevel: flags.multifdZstdLevel,
    zeroPageDetection: flags.zeroPageDetection,
    sendSwitchoverStart: flags.sendSwitchoverStart,
    maxBandwidthBytesPerSecond: flags.maxBandwidth,
    downtimeLimitMs: flags.downtimeLimit,
  });
}

/** Options of the destination. */
export function toReceiveOptions(flags: MigrationFlags, multifdDefault: boolean): ReceiveOptions {
  return definedOnly<ReceiveOptions>(commonOptions(flags, multifdDefault));
}

function commonOptions(flags: MigrationFlags, multifdDefault: boolean): ReceiveOptions {
  return {
    multifd: multifdState(flags, multifdDefault),
    multifdChannels: flags.multifdChannels,
    multifdCompression: flags.multifdCompression,
    multifdBackend: flags.multifdBackend,
    multifdFlushAfterEachSection: flags.multifdFlushAfterEachSection,
    connectTimeoutMs: flags.connectTimeout,
    channelTimeoutMs: flags.channelTimeout,
    stallTimeoutMs: flags.stallTimeout,
  };
}

const MULTIFD_FLAGS = [
  ['multifdChannels', '--multifd-channels'],
  ['multifdCompression', '--multifd-compression'],
  ['multifdBackend', '--multifd-backend'],
  ['multifdZlibLevel', '--multifd-zlib-level'],
  ['multifdZstdLevel', '--multifd-zstd-level'],
  ['multifdFlushAfterEachSection', '--multifd-flush-after-each-section'],
] as const satisfies readonly (readonly [keyof MigrationFlags, string])[];

/** A multifd flag turns multifd on: nobody who asks for a compression means the plain channel. */
function multifdState(flags: MigrationFlags, multifdDefault: boolean): boolean {
  const asked = capabilityMap(flags).get('multifd');
  const flag = MULTIFD_FLAGS.find(([key]) => flags[key] !== undefined);
  if (asked === false && flag !== undefined) {
    throw new MigrationError('bad-option', `${flag[1]} contradicts --capability multifd=off`);
  }
  return asked ?? (flag !== undefined || multifdDefault);
}

function checkLevels(flags: MigrationFlags): void {
  const method = flags.multifdCompression ?? MIGRATE_DEFAULTS.multifdCompression;
  for (const [level, name] of [
    [flags.multifdZlibLevel, 'zlib'],
    [flags.multifdZstdLevel, 'zstd'],
  ] as const) {
    if (level !== undefined && method !== name) {
      throw new MigrationError('bad-option', `--multifd-${name}-level needs --multifd-compression ${name}`);
    }
  }
}

/** What was asked for by name. Asking for on and off is a contradiction, whatever came last. */
function capabilityMap(flags: MigrationFlags): Map<string, boolean> {
  const map = new Map<string, boolean>();
  for (const { name, on } of flags.capability ?? []) {
    if (map.get(name) === !on)
      throw new MigrationError('bad-option', `--capability ${name} is both on and off`);
    map.set(name, on);
  }
  return map;
}

function definedOnly<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
