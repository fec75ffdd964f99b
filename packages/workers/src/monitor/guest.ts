import type { CapturedMachine, HeldTarget } from '@pageferry/core/capture';
import type { BuiltinMachine, BuiltinMachineTarget, Guest, IncomingGuest } from '@pageferry/core/guest';
import { RUN_STATES, type RunState } from '@pageferry/core/qmp';

/** A guest under a monitor: what the engine moves, and how it is started and stopped in between. */
export interface MonitoredGuest {
  readonly guest: Guest;
  start(): Promise<void>;
  stop(): Promise<void>;
  close(): Promise<void>;
}

/** A destination under a monitor. */
export interface MonitoredTarget {
  readonly target: IncomingGuest;
  /**
   * The guest that has arrived, and whether it runs, or in which state it stands still.
   * @param autostart whether one that ran at the source is to run here at once
   */
  begin(autostart: boolean): Promise<{ guest: MonitoredGuest; state: RunState }>;
}

/** The built-in machine: its vCPUs are threads. */
export function monitoredMachine(machine: BuiltinMachine): MonitoredGuest {
  return {
    guest: machine,
    start: async () => machine.start(),
    stop: () => machine.stop(),
    close: () => machine.close(),
  };
}

/**
 * A guest that is held in memory. It has no vCPUs here: its run state is the one in which it arrives where it is
 * migrated to.
 */
export function monitoredCapture(machine: CapturedMachine): MonitoredGuest {
  return {
    guest: machine,
    start: async () => {
      machine.runState = 'running';
    },
    stop: async () => {
      machine.runState = 'paused';
    },
    close: async () => {},
  };
}

/** The run state of a captured guest; one that QEMU does not know counts as paused. */
export function capturedRunState({ runState }: CapturedMachine): RunState {
  return RUN_STATES.find((state) => state === runState) ?? 'paused';
}

/** A destination for a built-in machine. */
export function machineTarget(target: BuiltinMachineTarget): MonitoredTarget {
  return {
    target,
    begin: async (autostart) => {
      const runs = autostart && (await target.start());
      return { guest: monitoredMachine(target.machine), state: runs ? 'running' : 'paused' };
    },
  };
}

/** A destination that holds whatever guest comes. */
export function heldTarget(target: HeldTarget): MonitoredTarget {
  return {
    target,
    begin: async (autostart) => {
      const guest = monitoredCapture(target.machine);
      const state = capturedRunState(target.machine);
      if (state !== 'running' || autostart) return { guest, state };
      await guest.stop();
      return { guest, state: 'paused' };
    },
  };
}
