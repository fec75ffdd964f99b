import { MigrationError } from '../error.ts';
import type { MigrateOptions } from './options.ts';
import { CAPABILITIES, type Capability, type CapabilityName } from './schema/capabilities.ts';
import { checkCapabilities } from './schema/rules.ts';
import { DEFAULT_QEMU_VERSION } from './schema/version.ts';

/**
 * What does not go with a background snapshot: the capabilities that QEMU refuses beside it, and mapped-ram, whose
 * threads read pages at a time of their own. (QEMU lets mapped-ram pass, but writes no bitmap then: 10.0 leaves a
 * file in which every page is zero.)
 *
 * @param asked the options as they were given: the return path counts only when it was asked for
 * @throws MigrationError `bad-option`, `unsupported`
 */
export function checkSnapshotOptions(asked: MigrateOptions): void {
  const isOn = (name: CapabilityName): boolean => {
    const { source }: Capability = CAPABILITIES[name];
    return typeof source === 'string' && asked[source] === true;
  };
  checkCapabilities({ isOn, valueOf: () => undefined }, DEFAULT_QEMU_VERSION);
  if (asked.mappedRam)
    throw new MigrationError('unsupported', 'background-snapshot to a mapped-ram file is not supported');
}
