export {
  CODEC_BACKENDS,
  type CodecBackend,
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
export type { MigrationResult, MigrationStatus, Progress, RamStats } from './progress.ts';
