import { type QmpCommand, QmpError } from '@pageferry/core/qmp';
import { z } from 'zod';
import { command } from '../command.ts';
import { type HmpMonitor, runHmp } from '../hmp.ts';
import { machineGlobals } from '../hmp-globals.ts';
import type { Monitor } from '../monitor.ts';

/** The monitor for people, which runs the commands of the other one. */
export function peopleCommands(monitor: Monitor): Record<string, QmpCommand> {
  const hmp: HmpMonitor = {
    version: monitor.release.version,
    get globals() {
      return machineGlobals(monitor.machine.guest?.guest.machine);
    },
    execute(name, args) {
      if (monitor.commands.has(name)) return monitor.execute(name, args);
      throw new QmpError(`QEMU ${monitor.release.version} has no ${name}`, 'CommandNotFound');
    },
  };
  return {
    'human-monitor-command': command(
      { 'command-line': z.string(), 'cpu-index': z.int().nonnegative().optional() },
      ({ 'command-line': line, 'cpu-index': cpuIndex }) => {
        // No line here looks at a CPU; one that is not there is a mistake all the same.
        const cpus = monitor.machine.vcpuCount;
        if (cpuIndex !== undefined && cpuIndex >= cpus)
          throw new QmpError(`there is no CPU with cpu-index ${cpuIndex}: the machine has ${cpus}`);
        return runHmp(line, hmp);
      },
    ),
  };
}
