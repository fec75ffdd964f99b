import type { ResolvedMigrateOptions } from '../control/options.ts';
import type { Progress } from '../control/progress.ts';
import { MigrationError } from '../error.ts';
import type { GuestMemory } from '../guest/contract.ts';
import { DIRTY_RING_PAGES } from '../guest/dirty-ring.ts';
import { VcpuThrottle } from '../guest/vcpu-throttle.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { Period } from './sync-period.ts';

/** So many periods in which the guest dirties too much, one after the other or not, are needed for a step. */
const BAD_PERIODS = 2;

/** What a throttle obeys; all of it may change while the migration runs. */
export type ThrottleOptions = Readonly<
  Pick<
    ResolvedMigrateOptions,
    | 'autoConverge'
    | 'cpuThrottleInitial'
    | 'cpuThrottleIncrement'
    | 'cpuThrottleTailslow'
    | 'maxCpuThrottle'
    | 'throttleTriggerThreshold'
    | 'dirtyLimit'
    | 'vcpuDirtyLimitMiBPerSecond'
    | 'vcpuDirtyLimitPeriodMs'
  >
>;

/**
 * Slows down a guest that dirties memory faster than it is sent, so that the migration ends: all vCPUs step by step
 * (auto-converge), or those that dirty more than the limit (dirty-limit).
 *
 * A period is a bad one when more was dirtied than `throttle-trigger-threshold` percent of what was sent in it.
 */
export class GuestThrottle {
  readonly #live: ThrottleOptions;
  readonly #vcpus: VcpuThrottle | undefined;
  #badPeriods = 0;
  #limited = false;

  /** @throws MigrationError `bad-option` when a guest with vCPUs cannot be throttled but is to be */
  constructor(live: ThrottleOptions, memory: GuestMemory) {
    this.#live = live;
    const wanted = live.autoConverge ? 'auto-converge' : live.dirtyLimit ? 'dirty-limit' : undefined;
    if (wanted === undefined) return;
    if (memory.throttle !== undefined) this.#vcpus = new VcpuThrottle(memory.throttle);
    // RAM that never changes has nobody to be throttled.
    else if (memory.dirtyLog.kind !== 'none') {
      throw new MigrationError('bad-option', `${wanted} needs a guest whose vCPUs can be throttled`, {
        found: 'a guest without throttle words',
      });
    }
  }

  /** To be told of each period. */
  periodEnded({ dirtiedPages, sentBytes }: Period): void {
    const { throttleTriggerThreshold, dirtyLimit, vcpuDirtyLimitPeriodMs } = this.#live;
    const vcpus = this.#vcpus;
    if (vcpus === undefined) return;
    if (dirtyLimit) vcpus.periodMs = vcpuDirtyLimitPeriodMs;
    const dirtiedBytes = dirtiedPages * TARGET_PAGE_BYTES;
    const allowedBytes = (sentBytes * throttleTriggerThreshold) / 100;
    if (dirtiedBytes <= allowedBytes || ++this.#badPeriods < BAD_PERIODS) return;
    this.#badPeriods = 0;
    if (dirtyLimit) {
      vcpus.limitDirtyRate(this.#live.vcpuDirtyLimitMiBPerSecond);
      this.#limited = true;
    } else {
      vcpus.percentage = nextPercentage(this.#live, vcpus.percentage, allowedBytes / dirtiedBytes);
    }
  }

  /** Lets the guest run freely again: the migration is over. */
  release(): void {
    if (this.#vcpus !== undefined) releaseThrottle(this.#live, this.#vcpus.buffer);
    this.#limited = false;
  }

  /** What `query-migrate` tells of it. */
  progress(): Pick<
    Progress,
    'cpuThrottlePercentage' | 'dirtyLimitThrottleTimePerRoundUs' | 'dirtyLimitRingFullTimeUs'
  > {
    const vcpus = this.#vcpus;
    if (vcpus === undefined) return {};
    if (this.#limited) {
      const each = Array.from({ length: vcpus.vcpuCount }, (_, vcpu) => vcpu);
      const rate = each.reduce((sum, vcpu) => sum + vcpus.dirtyRate(vcpu), 0) / each.length;
      const ringMiB = (DIRTY_RING_PAGES * TARGET_PAGE_BYTES) / 2 ** 20;
      return {
        dirtyLimitThrottleTimePerRoundUs: Math.max(...each.map((vcpu) => vcpus.throttledUs(vcpu))),
        dirtyLimitRingFullTimeUs: rate === 0 ? 0 : Math.round((ringMiB * 1e6) / rate),
      };
    }
    const { percentage } = vcpus;
    return percentage === 0 ? {} : { cpuThrottlePercentage: percentage };
  }
}

/** Lets the vCPUs run freely that a migration with these options may have throttled. */
export function releaseThrottle(
  { autoConverge, dirtyLimit }: Pick<ThrottleOptions, 'autoConverge' | 'dirtyLimit'>,
  throttle: SharedArrayBuffer,
): void {
  const vcpus = new VcpuThrottle(throttle);
  if (autoConverge) vcpus.percentage = 0;
  if (dirtyLimit) vcpus.limitDirtyRate(0);
}

/**
 * The next step of auto-converge.
 * @param allowedShare of what is dirtied now, what might be
 */
function nextPercentage(live: ThrottleOptions, now: number, allowedShare: number): number {
  if (now === 0) return live.cpuThrottleInitial;
  let step = live.cpuThrottleIncrement;
  if (live.cpuThrottleTailslow) {
    // Not below what would be enough if the guest dirtied in proportion to the time that it runs.
    const running = 100 - now;
    step = Math.min(step, running - Math.trunc(running * allowedShare));
  }
  return Math.min(now + step, live.maxCpuThrottle);
}
