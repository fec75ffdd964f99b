import { type QmpCommand, QmpError } from '@pageferry/core/qmp';
import { compatOf, machineVersion } from '@pageferry/core/wire';
import { z } from 'zod';
import { command } from '../command.ts';
import { type HmpMonitor, runHmp } from '../hmp.ts';
import { HMP_GLOBALS, type HmpGlobals } from '../hmp-migration.ts';
import type { Monitor } from '../monitor.ts';

/** The monitor for people, which runs the commands of the other one. */
export function peopleCommands(monitor: Monitor): Record<string, QmpCommand> {
  const hmp: HmpMonitor = {
    version: monitor.release.version,
    get globals() {
      return globalsOf(monitor.machine.guest?.guest.machine);
    },
    execute(name, args) {
      if (monitor.commands.has(name)) return monitor.execute(name, args);
      throw new QmpError(`QEMU ${monitor.release.version} has no ${name}`, 'CommandNotFound');
    },
  };
  return {
    'human-monitor-command': command(
      { 'command-line': z.string(), 'cpu-index': z.int().nonnegative().optional() },
      ({ 'command-line': line }) => runHmp(line, hmp),
    ),
  };
}

/** A machine type without a version is taken for the newest one. */
function globalsOf(machine: string | undefined): HmpGlobals {
  const version = machine === undefined ? undefined : machineVersion(machine);
  if (version === undefined) return HMP_GLOBALS;
  const { decompressErrorCheck, sendSwitchoverStart } = compatOf(version);
  return { ...HMP_GLOBALS, decompressErrorCheck, sendSwitchoverStart };
}
