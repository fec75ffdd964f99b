export {
  capturedRunState,
  heldTarget,
  type MonitoredGuest,
  type MonitoredTarget,
  machineTarget,
  monitoredCapture,
  monitoredMachine,
} from './guest.ts';
export { HELD_GUEST_LIMITS, settingsLimits } from './limits.ts';
export { Monitor, type MonitorEnd, type MonitorOptions } from './monitor.ts';
