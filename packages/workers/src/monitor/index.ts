export {
  capturedRunState,
  heldTarget,
  type MonitoredGuest,
  type MonitoredTarget,
  machineTarget,
  monitoredCapture,
  monitoredMachine,
} from './guest.ts';
export { Monitor, type MonitorEnd, type MonitorOptions } from './monitor.ts';
