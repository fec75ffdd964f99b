import type { QmpCommand, StatusInfo } from '@pageferry/core/qmp';
import { command } from '../command.ts';
import type { Monitor } from '../monitor.ts';

/** The events that a monitor can emit. */
const EVENTS = ['MIGRATION', 'MIGRATION_PASS', 'RESUME', 'SHUTDOWN', 'STOP', 'UNPLUG_PRIMARY'];

/** What concerns the machine apart from migration. */
export function machineCommands(monitor: Monitor): Record<string, QmpCommand> {
  const { machine, release } = monitor;
  return {
    stop: command({}, () => machine.stop()),
    cont: command({}, () => machine.cont()),
    quit: command({}, () => monitor.end('host-qmp-quit')),
    'query-status': command({}, (): StatusInfo => {
      const status = machine.state;
      return { status, ...(release.singlestep && { singlestep: false }), running: status === 'running' };
    }),
    'query-name': command({}, () => (monitor.name === undefined ? {} : { name: monitor.name })),
    'query-uuid': command({}, () => ({ UUID: monitor.uuid })),
    'query-version': command({}, () => monitor.version),
    'query-commands': command({}, () =>
      ['qmp_capabilities', ...monitor.commands.keys()].map((name) => ({ name })),
    ),
    'query-events': command({}, () => EVENTS.map((name) => ({ name }))),
  };
}
