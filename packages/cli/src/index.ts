/**
 * The library: `migrate` moves a guest away, `receive` takes one in. The guests that come with it are the
 * built-in machine (threads that write their RAM and can prove it whole) and a captured machine (a file).
 */
export { ERROR_CODES, type ErrorCode, type ErrorPhase, MigrationError } from '@pageferry/core';
export {
  type Capture,
  CapturedMachine,
  type CaptureFormat,
  type CaptureReport,
  CaptureTarget,
  extractBlock,
  inspectCapture,
  loadCapture,
} from '@pageferry/core/capture';
export type {
  LiveParameters,
  MigrateOptions,
  MigrationEvent,
  MigrationResult,
  MigrationStatus,
  Progress,
  RamStats,
  ReceiveOptions,
} from '@pageferry/core/control';
export {
  type AnnounceOptions,
  type AnnounceParameters,
  BuiltinMachine,
  type BuiltinMachineOptions,
  BuiltinMachineTarget,
  type BuiltinMachineTargetOptions,
  type CheckReport,
  createWriteTracking,
  type DeviceState,
  type DirtyRateInfo,
  DirtyRateMeter,
  type DirtyRateMode,
  type DirtyRateOptions,
  type Guest,
  type GuestMemory,
  type IncomingDescription,
  type IncomingGuest,
  type NetworkBackend,
  type NicOptions,
  RunControl,
  VcpuBrake,
  type VcpuDirtyLimit,
  VcpuThrottle,
  WriteBarrier,
  type WriteTrackingMemory,
} from '@pageferry/core/guest';
export { QmpClient, type QmpClientOptions, QmpError, QmpServer } from '@pageferry/core/qmp';
export {
  type Engine,
  type EngineOptions,
  type Migration,
  migrate,
  openNetworkBackend,
  prepareEngine,
  type Reception,
  type RunOptions,
  receive,
  useHugePages,
} from '@pageferry/workers';
export { Monitor, type MonitorOptions } from '@pageferry/workers/monitor';
