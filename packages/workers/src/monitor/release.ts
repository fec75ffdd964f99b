import { isAlive, type QemuVersion } from '@pageferry/core/control/schema';

/** Where a monitor's answers and events differ by QEMU's release, apart from parameters and capabilities. */
export interface Release {
  readonly version: QemuVersion;
  /** Every migration passes through the state `device`, not only one that was paused before the switch-over. */
  readonly alwaysDevice: boolean;
  /** A destination that listens is in the state `setup`; before it says so in an event only, `events` on or off. */
  readonly incomingSetup: boolean;
  /** `error-desc` is told in every state, and at the destination. */
  readonly errorAlways: boolean;
  /** A guest that was stopped already has the same state again after a failure; before it is `postmigrate`. */
  readonly restoresState: boolean;
  /** `query-migrate` tells the migration blockers. */
  readonly blockedReasons: boolean;
  /** `query-status` has `singlestep`. */
  readonly singlestep: boolean;
  /** `ram.skipped`, always 0. */
  readonly skipped: boolean;
  /** `migrate` and `migrate-incoming` take `channels`. */
  readonly channels: boolean;
  /** `calc-dirty-rate` and `query-dirty-rate` take a unit. */
  readonly dirtyRateUnit: boolean;
  /** vCPUs can have dirty limits. */
  readonly dirtyLimits: boolean;
  /** `migrate-incoming` takes `exit-on-error`. */
  readonly exitOnError: boolean;
  /** `migrate` takes `blk` and `inc`. */
  readonly blockMigration: boolean;
  /** A scheme that is not known makes the migration fail; later the state stays as it is. */
  readonly unknownSchemeFails: boolean;
}

export function releaseOf(version: QemuVersion): Release {
  const from = (since: QemuVersion) => isAlive({ since }, version);
  return {
    version,
    alwaysDevice: from('10.0'),
    incomingSetup: from('8.2'),
    errorAlways: from('8.2'),
    restoresState: from('9.0'),
    blockedReasons: from('6.0'),
    singlestep: !from('9.0'),
    skipped: !from('9.1'),
    channels: from('8.2'),
    dirtyRateUnit: from('8.2'),
    dirtyLimits: from('7.1'),
    exitOnError: from('9.1'),
    blockMigration: !from('9.1'),
    unknownSchemeFails: !from('8.2'),
  };
}
