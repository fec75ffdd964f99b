export { AtomicFile, writeFully } from './atomic-file.ts';
export type {
  Capture,
  CaptureContent,
  CaptureFormat,
  CaptureIoOptions,
  CaptureProgress,
  CaptureStats,
} from './capture.ts';
export { extractBlock } from './extract.ts';
export { HeldTarget, type HeldTargetOptions } from './held-target.ts';
export { inspectCapture } from './inspect.ts';
export { type LoadCaptureOptions, loadCapture } from './load.ts';
export { CapturedMachine, type CapturedMachineOptions } from './machine.ts';
export type { CaptureReadOptions } from './read-progress.ts';
export type {
  BlockReport,
  CaptureReport,
  CommandReport,
  ConfigurationReport,
  Damage,
  DeviceReport,
  FieldReport,
  LoadAdvice,
  PageReport,
  RamReport,
  SubsectionReport,
  VmdescReport,
} from './report.ts';
export { type SharedFiles, shareBlocks } from './shared-files.ts';
export { type CaptureResult, CaptureTarget, type CaptureTargetOptions } from './target.ts';
export { writeCapture } from './write-capture.ts';
export { writeMappedRam } from './write-mapped-ram.ts';
export { writeStream } from './write-stream.ts';
