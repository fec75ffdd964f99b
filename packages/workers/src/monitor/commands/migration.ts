import { MigrationError } from '@pageferry/core';
import { QMP_MIGRATION_STATUSES, type QmpCommand } from '@pageferry/core/qmp';
import { z } from 'zod';
import { command } from '../command.ts';
import type { Monitor } from '../monitor.ts';

/** The migration itself. */
export function migrationCommands(monitor: Monitor): Record<string, QmpCommand> {
  const { outgoing, incoming, release } = monitor;
  const destination = {
    uri: release.channels ? z.string().optional() : z.string(),
    ...when(release.channels, { channels: z.array(MIGRATION_CHANNEL).optional() }),
  };
  return {
    migrate: command(
      {
        ...destination,
        ...when(release.blockMigration, { blk: z.boolean().optional(), inc: z.boolean().optional() }),
        detach: z.boolean().optional(),
        resume: z.boolean().optional(),
      },
      ({ uri, channels, blk, inc, resume }) => {
        if (resume) throw refused('no migration is paused that could be resumed');
        if (blk || inc) throw refused('disks are not migrated: blk and inc are not supported');
        return outgoing.start({ uri, channels });
      },
    ),
    'migrate-incoming': command(
      { ...destination, ...when(release.exitOnError, { 'exit-on-error': z.boolean().optional() }) },
      async ({ uri, channels, 'exit-on-error': exitOnError = true }) => {
        if (incoming === undefined)
          throw refused('the machine was started with a guest, not with --incoming');
        await incoming.listen({ uri, channels }, exitOnError);
      },
    ),
    migrate_cancel: command({}, () => outgoing.cancel()),
    'migrate-continue': command({ state: z.enum(QMP_MIGRATION_STATUSES) }, ({ state }) =>
      outgoing.continue(state),
    ),
    'migrate-pause': command(
      {},
      () => {
        throw refused('migrate-pause is only possible during postcopy, which is not supported');
      },
      { allowOutOfBand: true },
    ),
    'query-migrate': command({}, () => monitor.migrationInfo()),
  };
}

/** Arguments that only some releases have. */
function when<S extends z.ZodRawShape>(there: boolean, shape: S): S {
  return there ? shape : ({} as S);
}

function refused(message: string): MigrationError {
  return new MigrationError('bad-state', message);
}

const SOCKET = z.literal('socket');

/** An entry of `channels`, as QEMU 8.2 to 10.2 take it. */
const MIGRATION_CHANNEL = z.strictObject({
  'channel-type': z.enum(['main', 'cpr']),
  addr: z.union([
    z.strictObject({
      transport: SOCKET,
      type: z.literal('inet'),
      host: z.string(),
      port: z.string(),
      numeric: z.boolean().optional(),
      to: z.int().min(0).max(65535).optional(),
      ipv4: z.boolean().optional(),
      ipv6: z.boolean().optional(),
      'keep-alive': z.boolean().optional(),
      mptcp: z.boolean().optional(),
    }),
    z.strictObject({
      transport: SOCKET,
      type: z.literal('unix'),
      path: z.string(),
      abstract: z.boolean().optional(),
      tight: z.boolean().optional(),
    }),
    z.strictObject({ transport: SOCKET, type: z.literal('vsock'), cid: z.string(), port: z.string() }),
    z.strictObject({ transport: SOCKET, type: z.literal('fd'), str: z.string() }),
    z.strictObject({ transport: z.literal('exec'), args: z.array(z.string()) }),
    z.strictObject({ transport: z.literal('rdma'), host: z.string(), port: z.string() }),
    z.strictObject({ transport: z.literal('file'), filename: z.string(), offset: z.int().min(0) }),
  ]),
});
