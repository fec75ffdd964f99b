export type { EventSink, MigrationEvent } from './events.ts';
export {
  applyLiveParameters,
  CODEC_BACKENDS,
  type CodecBackend,
  LIVE_PARAMETERS,
  type LiveParameters,
  MIGRATE_DEFAULTS,
  type MigrateOptions,
  MULTIFD_COMPRESSIONS,
  type MultifdCompression,
  type ReceiveOptions,
  type ResolvedMigrateOptions,
  type ResolvedReceiveOptions,
  resolveMigrateOptions,
  resolveReceiveOptions,
  ZERO_PAGE_DETECTIONS,
  type ZeroPageDetection,
} from './options.ts';
export { emptyRamStats, type MigrationResult, type Progress, type RamStats } from './progress.ts';
export { CAPABILITIES, type Capability, type CapabilityName } from './schema/capabilities.ts';
export { PARAMETERS, type Parameter, type ParameterName } from './schema/parameters.ts';
export { rangeOf } from './schema/range.ts';
export { CAPABILITY_RULES } from './schema/rules.ts';
export { isRefusal, type Side } from './schema/use.ts';
export {
  DESTINATION_STATES,
  isRunning,
  type MigrationStatus,
  SOURCE_STATES,
  StateMachine,
  type StateTable,
} from './states.ts';
