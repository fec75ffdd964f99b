import { compatOf, machineVersion } from '@pageferry/core/wire';

/** What the machine type and the command line fix, as `info migrate` shows it. */
export interface HmpGlobals {
  readonly storeGlobalState: boolean;
  readonly onlyMigratable: boolean;
  readonly sendConfiguration: boolean;
  readonly sendSectionFooter: boolean;
  /** Up to 9.0. */
  readonly decompressErrorCheck: boolean;
  /** From 10.0. */
  readonly sendSwitchoverStart: boolean;
  readonly clearBitmapShift: number;
}

/** Those of the newest machine types. */
const NEWEST: HmpGlobals = {
  storeGlobalState: true,
  onlyMigratable: false,
  sendConfiguration: true,
  sendSectionFooter: true,
  decompressErrorCheck: true,
  sendSwitchoverStart: true,
  clearBitmapShift: 18,
};

/** Which globals a release has. */
export interface HmpLayout {
  readonly decompressErrorCheck: boolean;
  readonly sendSwitchoverStart: boolean;
}

/** Those of a machine type; one without a version is taken for the newest. */
export function machineGlobals(machine: string | undefined): HmpGlobals {
  const version = machine === undefined ? undefined : machineVersion(machine);
  if (version === undefined) return NEWEST;
  const { decompressErrorCheck, sendConfiguration, sendSectionFooter, sendSwitchoverStart } =
    compatOf(version);
  // The run state came into the stream together with the configuration.
  const storeGlobalState = sendConfiguration;
  return {
    ...NEWEST,
    ...{ decompressErrorCheck, sendConfiguration, sendSectionFooter, sendSwitchoverStart, storeGlobalState },
  };
}

export function globalLines(globals: HmpGlobals, layout: HmpLayout): string[] {
  const onOff = (on: boolean) => (on ? 'on' : 'off');
  return [
    `store-global-state: ${onOff(globals.storeGlobalState)}`,
    `only-migratable: ${onOff(globals.onlyMigratable)}`,
    `send-configuration: ${onOff(globals.sendConfiguration)}`,
    `send-section-footer: ${onOff(globals.sendSectionFooter)}`,
    ...(layout.decompressErrorCheck
      ? [`decompress-error-check: ${onOff(globals.decompressErrorCheck)}`]
      : []),
    ...(layout.sendSwitchoverStart ? [`send-switchover-start: ${onOff(globals.sendSwitchoverStart)}`] : []),
    `clear-bitmap-shift: ${globals.clearBitmapShift}`,
  ];
}
