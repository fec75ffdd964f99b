import type { QmpCommand } from '@pageferry/core/qmp';
import type { Monitor } from '../monitor.ts';
import { guestCommands } from './guest.ts';
import { machineCommands } from './machine.ts';
import { migrationCommands } from './migration.ts';
import { peopleCommands } from './people.ts';
import { settingsCommands } from './settings.ts';

/** Every command of a monitor, those that QEMU's release has. */
export function monitorCommands(monitor: Monitor): ReadonlyMap<string, QmpCommand> {
  return new Map(
    Object.entries({
      ...machineCommands(monitor),
      ...settingsCommands(monitor),
      ...peopleCommands(monitor),
      ...migrationCommands(monitor),
      ...guestCommands(monitor),
    }),
  );
}
