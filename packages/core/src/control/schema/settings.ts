import { MigrationError } from '../../error.ts';
import {
  LIVE_PARAMETERS,
  type LiveParameters,
  type MigrateOptions,
  type ReceiveOptions,
} from '../options.ts';
import {
  type CapabilityState,
  type ParameterChanges,
  readCapabilities,
  readParameters,
} from './arguments.ts';
import { CAPABILITIES, type Capability, type CapabilityName, capabilitiesOf } from './capabilities.ts';
import {
  PARAMETERS,
  type Parameter,
  type ParameterName,
  type ParameterValue,
  parametersOf,
} from './parameters.ts';
import { isPowerOfTwo, rangeOf } from './range.ts';
import { checkCapabilities, checkListening, checkParameters } from './rules.ts';
import { isRefusal, type Refusal, type Side } from './use.ts';
import { DEFAULT_QEMU_VERSION, type QemuVersion } from './version.ts';

export interface SettingsOptions {
  /** Whose names, defaults, ranges and conflicts hold. */
  version?: QemuVersion;
  /** What is not supported on this side is refused as soon as it is set, on the other when it is used. */
  side: Side;
  limits?: SettingsLimits;
}

/** What the guest and its machine add. */
export interface SettingsLimits {
  /** Page size of the guest: the least that `xbzrle-cache-size` can be. Default: 4096. */
  pageSizeBytes?: number;
  /** Capabilities that this guest does not have, with the reason. */
  unavailable?: Partial<Record<CapabilityName, string>>;
  /** Where the machine type's default is not QEMU's latest. */
  defaults?: Partial<Record<ParameterName, ParameterValue>>;
}

/** What a process is at when its capabilities are set. */
export interface Situation {
  /** A migration runs, in either direction. */
  running?: boolean;
  /** Started as a destination, and no guest has come yet. */
  incoming?: boolean;
  /** As a destination, listening already. */
  listening?: boolean;
  /** Whether the transport that is listened on brings several connections. Default: yes. */
  severalConnections?: boolean;
}

/**
 * The parameters and capabilities of one process, as QMP sets and tells them. They start with QEMU's
 * defaults, and what QEMU would refuse is refused: by version, and as a whole, so that after an error
 * nothing has changed. What pageferry does not do is refused by name.
 *
 * Integers above 2^53 are bigints, in both directions.
 */
export class MigrationSettings {
  readonly version: QemuVersion;
  readonly #side: Side;
  readonly #limits: SettingsLimits;
  /** What was set; everything else has its default. */
  #parameters = new Map<ParameterName, ParameterValue>();
  #capabilities = new Set<CapabilityName>();

  constructor({ version = DEFAULT_QEMU_VERSION, side, limits = {} }: SettingsOptions) {
    this.version = version;
    this.#side = side;
    this.#limits = limits;
  }

  /** The value that holds, set or default; undefined for one without. */
  valueOf(name: ParameterName): ParameterValue | undefined {
    return this.#parameters.get(name) ?? this.#default(name);
  }

  isOn(name: CapabilityName): boolean {
    return this.#capabilities.has(name);
  }

  /**
   * migrate-set-parameters.
   *
   * @throws MigrationError `bad-option`, or `unsupported`; then nothing has changed
   */
  setParameters(args: unknown): void {
    const changes = this.#check(args);
    this.#parameters = new Map([...this.#parameters, ...entries(changes)]);
  }

  /** The answer of query-migrate-parameters. */
  queryParameters(): Record<string, ParameterValue> {
    const all = parametersOf(this.version).map(([name]) => [name, this.valueOf(name)] as const);
    return Object.fromEntries(all.filter((entry) => entry[1] !== undefined)) as Record<
      string,
      ParameterValue
    >;
  }

  /**
   * migrate-set-capabilities.
   *
   * @param list its argument `capabilities`
   * @throws MigrationError `bad-option`, or `unsupported`; then nothing has changed
   */
  setCapabilities(list: unknown, situation: Situation = {}): void {
    const changes = readCapabilities(list, this.version);
    if (situation.running) {
      throw new MigrationError('bad-option', 'capabilities cannot be set while a migration runs');
    }
    const capabilities = new Set(this.#capabilities);
    for (const { capability, state } of changes) {
      if (state) capabilities.add(capability);
      else capabilities.delete(capability);
    }
    checkCapabilities(
      { isOn: (name) => capabilities.has(name), valueOf: (name) => this.valueOf(name) },
      this.version,
    );
    const added = [...capabilities].filter((name) => !this.#capabilities.has(name));
    for (const name of added) {
      const missing = this.#limits.unavailable?.[name];
      if (missing !== undefined) throw new MigrationError('bad-option', `capability ${name}: ${missing}`);
      refuse(`capability ${name}`, capabilityOf(name)[this.#side]);
    }
    if (situation.incoming && situation.listening) {
      checkListening(added, situation.severalConnections ?? true, this.version);
    }
    this.#capabilities = capabilities;
  }

  /** The answer of query-migrate-capabilities. */
  queryCapabilities(): CapabilityState[] {
    return capabilitiesOf(this.version).map(([capability]) => ({ capability, state: this.isOn(capability) }));
  }

  /** @throws MigrationError `unsupported` for what was set and a source does not do */
  toMigrateOptions(): MigrateOptions {
    const options: MigrateOptions = this.#toOptions('source');
    // Where releases take both, the pages go to the channels of multifd.
    return options.multifd ? { ...options, xbzrle: false } : options;
  }

  /** @throws MigrationError `unsupported` for what was set and a destination does not do */
  toReceiveOptions(): ReceiveOptions {
    return this.#toOptions('destination');
  }

  /**
   * What the arguments of migrate-set-parameters change in a source's migration that runs. Changes nothing here.
   *
   * @throws MigrationError as `setParameters` does
   */
  liveChanges(args: unknown): LiveParameters {
    const live: readonly unknown[] = LIVE_PARAMETERS;
    const options: Record<string, unknown> = {};
    for (const [name, value] of entries(this.#check(args))) {
      const { source } = parameterOf(name);
      if (typeof source === 'string' && live.includes(source)) options[source] = toOption(value);
    }
    return options;
  }

  #check(args: unknown): ParameterChanges {
    const changes = readParameters(args, this.version);
    for (const [name, value] of entries(changes)) this.#checkRange(name, value);
    checkParameters({
      isOn: (name) => this.isOn(name),
      valueOf: (name) => changes[name] ?? this.valueOf(name),
    });
    for (const [name, value] of entries(changes)) {
      if (!same(value, this.#default(name))) refuse(name, parameterOf(name)[this.#side]);
    }
    return changes;
  }

  #checkRange(name: ParameterName, value: ParameterValue): void {
    if (name === 'xbzrle-cache-size') {
      const { pageSizeBytes = 4096 } = this.#limits;
      const bytes = value as number | bigint;
      if (bytes >= pageSizeBytes && isPowerOfTwo(bytes)) return;
      throw outOfRange(name, value, `a power of two from ${pageSizeBytes} on`);
    }
    const range = rangeOf(parameterOf(name));
    if (range === undefined || (typeof value !== 'number' && typeof value !== 'bigint')) return;
    const { least, most } = range;
    if (value >= least && (most === undefined || value <= most)) return;
    throw outOfRange(name, value, most === undefined ? `${least} or more` : `${least} to ${most}`);
  }

  #default(name: ParameterName): ParameterValue | undefined {
    return this.#limits.defaults?.[name] ?? parameterOf(name).default;
  }

  #toOptions(side: Side): Record<string, unknown> {
    const options: Record<string, unknown> = {};
    for (const [name, parameter] of parametersOf(this.version)) {
      const use = parameter[side];
      const value = this.valueOf(name);
      if (!same(value, this.#default(name))) refuse(name, use);
      if (typeof use !== 'string' || (parameter.machineDecides && !this.#parameters.has(name))) continue;
      options[use] = toOption(value!);
    }
    for (const [name, capability] of capabilitiesOf(this.version)) {
      const use = capability[side];
      if (this.isOn(name)) refuse(`capability ${name}`, use);
      if (typeof use === 'string') options[use] = this.isOn(name);
    }
    return options;
  }
}

function parameterOf(name: ParameterName): Parameter {
  return PARAMETERS[name];
}

function capabilityOf(name: CapabilityName): Capability {
  return CAPABILITIES[name];
}

function entries(changes: ParameterChanges): [ParameterName, ParameterValue][] {
  const all = Object.entries(changes) as [ParameterName, ParameterValue | undefined][];
  return all.filter((entry): entry is [ParameterName, ParameterValue] => entry[1] !== undefined);
}

/** Lists are only ever the same when both are empty. */
function same(value: ParameterValue | undefined, other: ParameterValue | undefined): boolean {
  if (Array.isArray(value) && Array.isArray(other)) return value.length === 0 && other.length === 0;
  return value === other;
}

function refuse(what: string, use: string | Refusal | undefined): void {
  if (isRefusal(use)) throw new MigrationError('unsupported', `${what} ${use.refused}`);
}

/** An option takes no bigint: what is above 2^53 bytes (a second) is as good as 2^53. */
function toOption(value: ParameterValue): ParameterValue {
  return typeof value === 'bigint' ? Number.MAX_SAFE_INTEGER : value;
}

function outOfRange(name: string, value: ParameterValue, expected: string): MigrationError {
  return new MigrationError('bad-option', `${name} is out of range`, { found: String(value), expected });
}
