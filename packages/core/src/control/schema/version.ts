import { MigrationError } from '../../error.ts';

/** QEMU's releases whose parameters and capabilities are known here, oldest first. */
export const QEMU_VERSIONS = [
  ...['5.1', '5.2', '6.0', '6.1', '6.2', '7.0', '7.1', '7.2', '8.0', '8.1', '8.2'],
  ...['9.0', '9.1', '9.2', '10.0', '10.1', '10.2'],
] as const;

/** A QEMU release, `major.minor`. Items may be older than the oldest that is known. */
export type QemuVersion = `${number}.${number}`;

export const DEFAULT_QEMU_VERSION: QemuVersion = '10.0';

/** A release in which something came, and the first one in which it was gone. */
export interface Lifetime {
  readonly since: QemuVersion;
  readonly removed?: QemuVersion;
}

/** Reads `7.2`. @throws MigrationError `bad-option` for a release that is not known */
export function parseQemuVersion(text: string): QemuVersion {
  if ((QEMU_VERSIONS as readonly string[]).includes(text)) return text as QemuVersion;
  throw new MigrationError('bad-option', 'the QEMU version is not known', {
    found: JSON.stringify(text),
    expected: `one of ${QEMU_VERSIONS.join(', ')}`,
  });
}

/** Whether QEMU `version` has what came and went with `lifetime`. */
export function isAlive({ since, removed }: Lifetime, version: QemuVersion): boolean {
  return rank(version) >= rank(since) && (removed === undefined || rank(version) < rank(removed));
}

function rank(version: QemuVersion): number {
  const [major, minor] = version.split('.').map(Number);
  return major! * 1000 + minor!;
}
