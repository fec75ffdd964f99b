export {
  ERROR_CODES,
  type ErrorCode,
  type ErrorPhase,
  MigrationError,
  type PlainMigrationError,
} from './error.ts';
export { fileError } from './file-error.ts';
export type {
  ChannelStats,
  CompressedBatch,
  CompressThreads,
  DecompressThreads,
  PageReceiver,
  PageSender,
} from './page-channels.ts';
export { workerEntry } from './worker-entry.ts';
