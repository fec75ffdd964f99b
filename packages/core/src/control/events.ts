import type { MigrationStatus } from './states.ts';

/**
 * What happens during a migration, as QMP events: names and data are QEMU's. STOP and RESUME are the guest's vCPUs,
 * stopped for the switch-over, and running at the destination or again at the source.
 */
export type MigrationEvent =
  | { readonly event: 'MIGRATION'; readonly data: { readonly status: MigrationStatus } }
  /** The source looked at the dirty log; `pass` counts from 1, which is the one before the first page. */
  | { readonly event: 'MIGRATION_PASS'; readonly data: { readonly pass: number } }
  | { readonly event: 'STOP' }
  | { readonly event: 'RESUME' }
  /** The guest was asked to let go of a device. */
  | { readonly event: 'UNPLUG_PRIMARY'; readonly data: { readonly 'device-id': string } };

/** Takes events, in order. */
export type EventSink = (event: MigrationEvent) => void;
