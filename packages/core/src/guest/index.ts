export type { CheckReport } from './builtin/check.ts';
export { CONTENT_MIXES, type ContentMix } from './builtin/content.ts';
export { BUILTIN_MACHINE } from './builtin/device-state.ts';
export { BuiltinMachine } from './builtin/machine.ts';
export { NIC_NAME, type NicOptions } from './builtin/nic.ts';
export { type BuiltinMachineOptions, WORKLOADS, type Workload } from './builtin/options.ts';
export { BuiltinMachineTarget, type BuiltinMachineTargetOptions } from './builtin/target.ts';
export type { DeviceState, Guest, GuestMemory, IncomingDescription, IncomingGuest } from './contract.ts';
export {
  DIRTY_RATE_MODES,
  type DirtyRateInfo,
  DirtyRateMeter,
  type DirtyRateMode,
  type DirtyRateOptions,
} from './dirty-rate.ts';
export { beginMoving, isMoving } from './moving.ts';
export {
  type AnnounceOptions,
  type AnnounceParameters,
  announceFrame,
  announcePauseMs,
} from './network/announce.ts';
export type { NetworkBackend } from './network/backend.ts';
export { DEFAULT_MAC, formatMac, parseMac } from './network/mac.ts';
export { openUdpBackend } from './network/udp.ts';
export { RunControl } from './run-control.ts';
export { VcpuBrake } from './vcpu-brake.ts';
export { type VcpuDirtyLimit, VcpuThrottle } from './vcpu-throttle.ts';
export {
  createWriteTracking,
  endWriteTracking,
  WriteBarrier,
  WriteTracker,
  type WriteTrackingMemory,
} from './write-tracking.ts';
