/**
 * What a machine type's version decides about the stream. Both sides of a migration run the same machine
 * type, so its name is the one thing that both know.
 */

export interface MachineVersion {
  /** The name without its version: `pc-i440fx`. */
  readonly family?: string;
  readonly major: number;
  readonly minor: number;
}

export interface MachineCompat {
  /** Multifd syncs at every EOS (up to 8.0) instead of at MULTIFD_FLUSH words. */
  readonly multifdFlushAfterEachSection: boolean;
  /** Zero pages travel on the main channel (`legacy`, up to 8.2) or in multifd packets. */
  readonly zeroPageDetection: 'legacy' | 'multifd';
  /** The SWITCHOVER_START command is sent (from 10.0). */
  readonly sendSwitchoverStart: boolean;
  /** A QEMU that has the machine type may have capability compress (up to 9.0). */
  readonly compress: boolean;
  /** A compressed page that cannot be inflated is an error (from 3.0), or stays as it is: it comes again then. */
  readonly decompressErrorCheck: boolean;
  /** A configuration section follows the header, and sections end with a footer (from 2.4). */
  readonly sendConfiguration: boolean;
  readonly sendSectionFooter: boolean;
  /** A vmdescription follows the EOF. */
  readonly vmdesc: boolean;
}

/** Machine types that suppress the vmdescription up to version 2.2. */
const WITHOUT_VMDESC: ReadonlySet<string> = new Set(['pc-i440fx', 'pc-q35', 'pseries']);

/**
 * The QEMU version in a machine type's name (`pc-q35-7.2`, `virt-8.2`), or undefined when there is none: a
 * bare name (`pc`, `microvm`) or a distribution's own numbering (`pc-q35-rhel9.2.0`).
 */
export function machineVersion(name: string): MachineVersion | undefined {
  const match = /^(.+)-(\d{1,3})\.(\d{1,3})(?:\.\d{1,3})?$/.exec(name);
  if (match === null) return undefined;
  return { family: match[1]!, major: Number(match[2]), minor: Number(match[3]) };
}

/** The switches of QEMU's machine-type compatibility that show on the wire. */
export function compatOf(version: MachineVersion): MachineCompat {
  const suppressed = version.family !== undefined && WITHOUT_VMDESC.has(version.family);
  return {
    multifdFlushAfterEachSection: upTo(version, 8, 0),
    zeroPageDetection: upTo(version, 8, 2) ? 'legacy' : 'multifd',
    sendSwitchoverStart: !upTo(version, 9, 2),
    compress: upTo(version, 9, 0),
    decompressErrorCheck: !upTo(version, 2, 12),
    sendConfiguration: !upTo(version, 2, 3),
    sendSectionFooter: !upTo(version, 2, 3),
    vmdesc: !(suppressed && upTo(version, 2, 2)),
  };
}

function upTo(version: MachineVersion, major: number, minor: number): boolean {
  return version.major < major || (version.major === major && version.minor <= minor);
}
