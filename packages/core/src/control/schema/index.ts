export { type CapabilityState, type ParameterChanges, valuesOf } from './arguments.ts';
export { CAPABILITIES, type Capability, type CapabilityName, capabilitiesOf } from './capabilities.ts';
export {
  PARAMETERS,
  type Parameter,
  type ParameterName,
  type ParameterValue,
  parametersOf,
} from './parameters.ts';
export { MigrationSettings, type SettingsLimits, type SettingsOptions, type Situation } from './settings.ts';
export { isRefusal, type Refusal, type Side, type Uses } from './use.ts';
export { DEFAULT_QEMU_VERSION, parseQemuVersion, QEMU_VERSIONS, type QemuVersion } from './version.ts';
