export type { CheckReport } from './builtin/check.ts';
export { CONTENT_MIXES, type ContentMix } from './builtin/content.ts';
export { BUILTIN_MACHINE } from './builtin/device-state.ts';
export { BuiltinMachine } from './builtin/machine.ts';
export { type BuiltinMachineOptions, WORKLOADS, type Workload } from './builtin/options.ts';
export { BuiltinMachineTarget, type BuiltinMachineTargetOptions } from './builtin/target.ts';
export type { DeviceState, Guest, GuestMemory, IncomingDescription, IncomingGuest } from './contract.ts';
export { RunControl } from './run-control.ts';
