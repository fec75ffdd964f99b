/**
 * The settings of a QEMU by version, as a monitor needs them. The tables that they are made from are part of
 * `control`, which loads no schema library.
 */
export type { CapabilityState } from './arguments.ts';
export type { ParameterValue } from './parameters.ts';
export { MigrationSettings, type SettingsLimits, type SettingsOptions, type Situation } from './settings.ts';
export {
  DEFAULT_QEMU_VERSION,
  isAlive,
  parseQemuVersion,
  QEMU_VERSIONS,
  type QemuVersion,
} from './version.ts';
