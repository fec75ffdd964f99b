import { MigrationError } from '@pageferry/core';
import {
  CAPABILITIES,
  type Capability,
  MIGRATE_DEFAULTS,
  type MigrateOptions,
  PARAMETERS,
  type Parameter,
  type ReceiveOptions,
  type Side,
} from '@pageferry/core/control';
import type { MigrationFlags } from './migration-flags.ts';

/**
 * Options of the source. What was not given is absent.
 *
 * @param multifdDefault whether multifd is on when neither a capability nor a multifd flag says
 * @throws MigrationError `bad-option` for flags that contradict each other, or do nothing
 */
export function toMigrateOptions(flags: MigrationFlags, multifdDefault: boolean): MigrateOptions {
  checkLevels(flags);
  return toOptions('source', flags, multifdDefault, {
    sendSwitchoverStart: flags.sendSwitchoverStart,
    storeGlobalState: flags.storeGlobalState,
    suppressVmdesc: flags.suppressVmdesc,
    connectTimeoutMs: flags.connectTimeout,
  });
}

/** Options of the destination; as `toMigrateOptions`. */
export function toReceiveOptions(flags: MigrationFlags, multifdDefault: boolean): ReceiveOptions {
  const { decompressErrorCheck } = flags;
  if (decompressErrorCheck !== undefined && capabilityMap(flags).get('compress') !== true)
    throw new MigrationError('bad-option', '--decompress-error-check needs --capability compress');
  return toOptions('destination', flags, multifdDefault, { decompressErrorCheck });
}

function toOptions<T extends object>(
  side: Side,
  flags: MigrationFlags,
  multifdDefault: boolean,
  more: T,
): T & ReceiveOptions {
  const capabilities = capabilityMap(flags);
  const multifd = multifdState(flags, capabilities, multifdDefault);
  const options: Record<string, unknown> = {
    ...more,
    multifdBackend: flags.multifdBackend,
    multifdFlushAfterEachSection: flags.multifdFlushAfterEachSection,
    sendConfiguration: flags.sendConfiguration,
    sendSectionFooter: flags.sendSectionFooter,
    channelTimeoutMs: flags.channelTimeout,
    stallTimeoutMs: flags.stallTimeout,
  };
  for (const [name, parameter] of Object.entries<Parameter>(PARAMETERS)) {
    const value = flagValue(flags, name);
    if (value === undefined) continue;
    const needed = parameter.with;
    if (needed !== undefined && needed !== 'multifd' && capabilities.get(needed) !== true) {
      throw new MigrationError('bad-option', `--${name} needs --capability ${needed}`);
    }
    const option = parameter[side];
    if (typeof option === 'string') options[option] = value;
  }
  for (const [name, capability] of Object.entries<Capability>(CAPABILITIES)) {
    const option = capability[side];
    if (typeof option === 'string') options[option] = name === 'multifd' ? multifd : capabilities.get(name);
  }
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

/** Capabilities that multifd does not go with. */
const ON_PLAIN_CHANNEL = ['xbzrle', 'compress'];

/**
 * A multifd flag turns multifd on: nobody who asks for a compression means the plain channel. Nor does multifd come by
 * default where something was asked for that it does not go with.
 */
function multifdState(
  flags: MigrationFlags,
  capabilities: ReadonlyMap<string, boolean>,
  multifdDefault: boolean,
): boolean {
  const asked = capabilities.get('multifd');
  const flag = Object.keys(flags).find(
    (key) => /^multifd[A-Z]/.test(key) && flags[key as keyof MigrationFlags] !== undefined,
  );
  if (asked === false && flag !== undefined) {
    const name = flag.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new MigrationError('bad-option', `--${name} contradicts --capability multifd=off`);
  }
  if (asked !== undefined || flag !== undefined) return asked ?? true;
  return multifdDefault && !ON_PLAIN_CHANNEL.some((name) => capabilities.get(name) === true);
}

function checkLevels(flags: MigrationFlags): void {
  const method = flagValue(flags, 'multifd-compression') ?? MIGRATE_DEFAULTS.multifdCompression;
  for (const name of ['zlib', 'zstd']) {
    if (flagValue(flags, `multifd-${name}-level`) !== undefined && method !== name) {
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

/** The value of a parameter's flag, which commander stores in camelCase. */
function flagValue(flags: MigrationFlags, name: string): unknown {
  const key = name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
  return (flags as Record<string, unknown>)[key];
}
