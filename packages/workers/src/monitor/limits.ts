import type { SettingsLimits } from '@pageferry/core/control/schema';
import type { Guest } from '@pageferry/core/guest';
import { compatOf, machineVersion } from '@pageferry/core/wire';

const NO_THROTTLE = "the guest's vCPUs cannot be throttled";
const NO_TRACKING = "the guest's writes cannot be tracked";

/** Of a destination that holds whatever guest comes; what only a source looks at is told when it becomes one. */
export const HELD_GUEST_LIMITS: SettingsLimits = { unavailable: { 'background-snapshot': NO_TRACKING } };

/** What a guest adds to the settings of the process that has it. */
export function settingsLimits({
  machine,
  targetPageBits,
  memory,
}: Pick<Guest, 'machine' | 'targetPageBits' | 'memory'>): SettingsLimits {
  const version = machineVersion(machine);
  return {
    ...(targetPageBits !== undefined && { pageSizeBytes: 2 ** targetPageBits }),
    ...(version !== undefined && {
      defaults: { 'zero-page-detection': compatOf(version).zeroPageDetection },
    }),
    unavailable: {
      ...(memory.throttle === undefined && { 'auto-converge': NO_THROTTLE, 'dirty-limit': NO_THROTTLE }),
      ...(memory.writeTracking === undefined && { 'background-snapshot': NO_TRACKING }),
    },
  };
}
