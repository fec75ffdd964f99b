import type { ResolvedMigrateOptions, ZeroPageDetection } from '../control/options.ts';
import { MigrationError } from '../error.ts';
import { BUILTIN_MACHINE } from '../guest/builtin/device-state.ts';
import { compatOf, machineVersion } from '../wire/machine-compat.ts';

/** What the machine version (or the caller) decides about the bytes on the wire. */
export interface ProtocolSwitches {
  /** One multifd sync at every RAM section's end, without FLUSH words (QEMU up to 8.0). */
  readonly flushAfterEachSection: boolean;
  readonly zeroPageDetection: ZeroPageDetection;
  readonly sendSwitchoverStart: boolean;
  /** A configuration section follows the header (QEMU machine types from 2.4). */
  readonly sendConfiguration: boolean;
  /** Sections end with a footer (from 2.4). */
  readonly sendSectionFooter: boolean;
  /** A vmdescription follows the device sections. */
  readonly sendVmdesc: boolean;
  /** The pages have places of their own in a file: the stream has no word about pages or sync points. */
  readonly mappedRam: boolean;
}

/**
 * Derives the switches from the machine's name; options override them one by one.
 *
 * A wrong sync mode can end as `completed` with a dead guest, so a name without a version is never
 * guessed at: with multifd it needs `multifd-flush-after-each-section`. For the others there is a value
 * that every QEMU accepts of such a machine.
 *
 * @throws MigrationError `bad-option`
 */
export function protocolSwitches(machine: string, options: ResolvedMigrateOptions): ProtocolSwitches {
  const version = machineVersion(machine);
  const compat = version === undefined ? undefined : compatOf(version);
  if (options.compress && compat?.compress === false && machine !== BUILTIN_MACHINE) {
    throw new MigrationError('bad-option', 'no QEMU that has this machine type has capability compress', {
      found: machine,
      expected: 'a machine type up to 9.0',
    });
  }
  const framing = {
    sendSwitchoverStart: options.sendSwitchoverStart ?? compat?.sendSwitchoverStart ?? false,
    sendConfiguration: options.sendConfiguration ?? compat?.sendConfiguration ?? true,
    sendSectionFooter: options.sendSectionFooter ?? compat?.sendSectionFooter ?? true,
    sendVmdesc: !(options.suppressVmdesc ?? compat?.vmdesc === false),
  };
  if (options.mappedRam) {
    // Zero pages are found by the threads that write the others: a zero page is the lack of a bit.
    const zeroPageDetection = options.zeroPageDetection === 'none' ? 'none' : 'multifd';
    // What kind of file it is stands in its configuration.
    return {
      ...framing,
      flushAfterEachSection: false,
      zeroPageDetection,
      sendConfiguration: true,
      mappedRam: true,
    };
  }
  const flushAfterEachSection =
    options.multifdFlushAfterEachSection ?? compat?.multifdFlushAfterEachSection ?? !options.multifd;
  if (options.multifd && options.multifdFlushAfterEachSection === undefined && compat === undefined) {
    throw new MigrationError(
      'bad-option',
      'the machine name carries no QEMU version, so multifd needs multifd-flush-after-each-section ' +
        '(on for machine types up to 8.0, off for later ones)',
      { found: JSON.stringify(machine), expected: 'a name such as pc-i440fx-10.0' },
    );
  }
  return {
    ...framing,
    flushAfterEachSection,
    zeroPageDetection: options.zeroPageDetection ?? compat?.zeroPageDetection ?? 'legacy',
    mappedRam: false,
  };
}
