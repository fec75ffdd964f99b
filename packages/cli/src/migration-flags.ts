import {
  CAPABILITIES,
  type Capability,
  type CapabilityName,
  CODEC_BACKENDS,
  isRefusal,
  MIGRATE_DEFAULTS,
  type MigrateOptions,
  MULTIFD_COMPRESSIONS,
  PARAMETERS,
  type Parameter,
  type ParameterName,
  rangeOf,
  type Side,
} from '@pageferry/core/control';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { formatBytes } from './format.ts';
import { parseInteger, parseMilliseconds, parseOnOff, parseSeconds, parseSize } from './values.ts';

/**
 * The flags that set migration parameters and capabilities, with QEMU's names. They are made from the tables of
 * `@pageferry/core/control`, so that a flag exists as soon as something is done with it, and only then.
 */

/** `--capability name[=on|off]`, parsed. */
interface CapabilityFlag {
  readonly name: string;
  readonly on: boolean;
}

/** What commander gives for the flags below, keyed by the flag in camelCase; absent when not given. */
export interface MigrationFlags {
  capability?: CapabilityFlag[];
  multifdBackend?: MigrateOptions['multifdBackend'];
  multifdFlushAfterEachSection?: boolean;
  sendSwitchoverStart?: boolean;
  decompressErrorCheck?: boolean;
  sendConfiguration?: boolean;
  sendSectionFooter?: boolean;
  storeGlobalState?: boolean;
  suppressVmdesc?: boolean;
  connectTimeout?: number;
  channelTimeout?: number;
  stallTimeout?: number;
}

/** What a command can use. */
export interface FlagsOf {
  readonly sides: readonly Side[];
  /** Capabilities that this command has no use for, with the reason. */
  readonly without?: Readonly<Partial<Record<CapabilityName, string>>>;
  readonly withoutParameters?: readonly ParameterName[];
}

/** Why a capability is not for the command that is typed. */
export const FOR_FILES =
  'belongs to files: pageferry send to file:PATH and receive --format mapped-ram write them';
export const FOR_MONITORS = 'waits for migrate-continue, which only a monitor can say';

/** As in QEMU, a guest that stands still waits for nobody. */
export const FOR_MOVING_GUESTS = 'holds back the stop of a guest that runs; a captured one stands still';
export const FOR_RUNNING_GUESTS = 'needs a guest that runs: see pageferry demo --snapshot';
/** Nothing in a capture is sent again, so nothing would be done. */
export const FOR_WRITING_GUESTS = 'needs a guest that writes while it is sent; a capture does not';

/** Nothing in a capture runs that could be slowed down. */
export const FOR_VCPUS = 'slows down a guest that runs; a captured one stands still';

/** For destinations without a NIC. */
export const ANNOUNCEMENTS: readonly ParameterName[] = [
  'announce-initial',
  'announce-max',
  'announce-rounds',
  'announce-step',
];

const parameters = Object.entries(PARAMETERS) as [ParameterName, Parameter][];
const capabilities: ReadonlyMap<string, Capability> = new Map(Object.entries<Capability>(CAPABILITIES));

/** Adds a flag for each parameter and for what is pageferry's own, and `--capability`. */
export function addMigrationFlags(
  command: Command,
  { sides, without = {}, withoutParameters = [] }: FlagsOf,
): void {
  const source = sides.includes('source');
  const used = (item: Parameter | Capability) => sides.some((side) => typeof item[side] === 'string');
  addCapabilities(command, sides, without);
  for (const [name, parameter] of parameters) {
    // A parameter goes with its capability.
    const left =
      withoutParameters.includes(name) || (parameter.with && without[parameter.with] !== undefined);
    if (used(parameter) && !left) add(command, parameterFlag(name, parameter));
  }
  const backend = 'implementation of the compression (default: the fastest measured)';
  const machine = 'override what the machine version says';
  add(command, new Option('--multifd-backend <name>', backend).choices(CODEC_BACKENDS));
  add(command, onOff(new Option('--multifd-flush-after-each-section [on|off]', machine)));
  const framing = source ? machine : 'insist on it, or on its absence (default: what the stream shows)';
  add(command, onOff(new Option('--send-configuration [on|off]', framing)));
  add(command, onOff(new Option('--send-section-footer [on|off]', framing)));
  if (source) {
    add(command, onOff(new Option('--send-switchover-start [on|off]', machine)));
    const state = "send the guest's run state (default: if the guest brings it)";
    add(command, onOff(new Option('--store-global-state [on|off]', state)));
    add(command, onOff(new Option('--suppress-vmdesc [on|off]', machine)));
  }
  if (sides.includes('destination'))
    add(command, onOff(new Option('--decompress-error-check [on|off]', machine)));
  addTimeLimits(command, source);
}

function addCapabilities(
  command: Command,
  sides: readonly Side[],
  without: Readonly<Record<string, string>>,
): void {
  const usable = [...capabilities].filter(
    ([name, item]) => without[name] === undefined && sides.some((side) => typeof item[side] === 'string'),
  );
  const names = usable.map(([name]) => name).join(', ');
  const parse = (text: string, before: CapabilityFlag[] | undefined): CapabilityFlag[] => {
    const [name = '', value, ...rest] = text.split('=');
    if (!usable.some(([one]) => one === name)) {
      const why = without[name] ?? whyNot(name, sides) ?? `is not known; there is ${names}`;
      throw new InvalidArgumentError(`Capability ${name} ${why}.`);
    }
    if (rest.length > 0) throw new InvalidArgumentError('Expected name, name=on or name=off.');
    return [...(before ?? []), { name, on: value === undefined || parseOnOff(value) }];
  };
  const description = `name, name=on or name=off, may be repeated: ${names}`;
  add(command, new Option('--capability <name>', description).argParser(parse));
}

/** Why a capability that QEMU has sets nothing on these sides. */
function whyNot(name: string, sides: readonly Side[]): string | undefined {
  const capability = capabilities.get(name);
  if (capability === undefined) return undefined;
  const refusal = sides.map((side) => capability[side]).find(isRefusal);
  if (refusal !== undefined) return refusal.refused;
  if (capability.actsIn !== undefined) return `acts in ${capability.actsIn}`;
  return `is decided by the ${sides.includes('source') ? 'destination' : 'source'}`;
}

function parameterFlag(name: string, parameter: Parameter): Option {
  const { type, unit, about } = parameter;
  const flag = (value: string) => new Option(`--${name} ${value}`, `${about} (${defaultText(parameter)})`);
  if (name === 'multifd-compression') {
    const description = `default: ${parameter.default}; lz4 and adaptive only between two pageferrys`;
    return new Option(`--${name} <method>`, description).choices(MULTIFD_COMPRESSIONS);
  }
  if (type === 'enum') return flag('<value>').choices(Object.keys(parameter.values!));
  if (type === 'bool') return onOff(flag('[on|off]'));
  const { least = 0, most = Number.MAX_SAFE_INTEGER } = rangeOf(parameter) ?? {};
  if (unit === 'bytes' || unit === 'bytes/s') return flag('<size>').argParser(parseSize);
  if (unit === 'ms') return flag('<time>').argParser(parseMilliseconds);
  return flag('<n>').argParser(parseInteger(least, most));
}

/** The library's default, and QEMU's where it is another. */
function defaultText(parameter: Parameter): string {
  if (parameter.machineDecides) return 'default: what the machine version says';
  const option = parameter.source as keyof typeof MIGRATE_DEFAULTS;
  const usual = MIGRATE_DEFAULTS[option] ?? parameter.default;
  const text = (value: unknown) => {
    if (typeof value === 'boolean') return value ? 'on' : 'off';
    const size = parameter.unit === 'bytes' || parameter.unit === 'bytes/s';
    return size && value !== 0
      ? formatBytes(value as number)
      : `${value}${parameter.unit === 'ms' ? 'ms' : ''}`;
  };
  const other = usual === parameter.default ? '' : `; QEMU's is ${text(parameter.default)}`;
  return `default: ${text(usual)}${other}`;
}

/** Adds time limits: `connect` only where a connection is made. */
function addTimeLimits(command: Command, connect: boolean): void {
  const { connectTimeoutMs, channelTimeoutMs, stallTimeoutMs } = MIGRATE_DEFAULTS;
  const seconds = (ms: number) => `(default: ${ms / 1000}s)`;
  if (connect) {
    const description = `limit of a connection attempt ${seconds(connectTimeoutMs)}`;
    add(command, new Option('--connect-timeout <time>', description).argParser(parseSeconds));
  }
  const channel = `how long an expected channel may take to come ${seconds(channelTimeoutMs)}`;
  const stall = `how long no byte may move while something is owed, 0: for ever ${seconds(stallTimeoutMs)}`;
  add(command, new Option('--channel-timeout <time>', channel).argParser(parseSeconds));
  add(command, new Option('--stall-timeout <time>', stall).argParser(parseSeconds));
}

function onOff(option: Option): Option {
  return option.preset('on').argParser(parseOnOff);
}

function add(command: Command, option: Option): void {
  command.addOption(option.helpGroup('Migration options:'));
}
