import type { QmpCommand } from '@pageferry/core/qmp';
import { z } from 'zod';
import { command } from '../command.ts';
import type { Monitor } from '../monitor.ts';

/** Parameters and capabilities. */
export function settingsCommands(monitor: Monitor): Record<string, QmpCommand> {
  const { settings, outgoing } = monitor;
  return {
    'query-migrate-parameters': command({}, () => settings.queryParameters()),
    'query-migrate-capabilities': command({}, () => settings.queryCapabilities()),
    'migrate-set-capabilities': command({ capabilities: z.array(z.unknown()) }, async ({ capabilities }) => {
      settings.setCapabilities(capabilities, {
        running: outgoing.running,
        incoming: monitor.machine.guest === undefined,
        listening: monitor.incoming?.started === true,
        severalConnections: monitor.incoming?.severalConnections,
      });
      await monitor.incoming?.settingsChanged();
      monitor.warmUp();
    }),
    // Its members have a reader of their own, with QEMU's rules for each.
    'migrate-set-parameters': {
      run: (args) =>
        command({}, async () => {
          const changes = settings.liveChanges(args);
          settings.setParameters(args);
          await outgoing.setParameters(changes);
          await monitor.incoming?.settingsChanged();
          monitor.warmUp();
        }).run({}),
    },
  };
}
