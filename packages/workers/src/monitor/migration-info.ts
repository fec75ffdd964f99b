import type { MigrationStatus, Progress } from '@pageferry/core/control';
import type { MigrationSettings } from '@pageferry/core/control/schema';
import type { MigrationInfo, MigrationStats, SocketAddressInfo } from '@pageferry/core/qmp';
import type { Release } from './release.ts';

/** States of a source in which the answer tells more than the state. */
const WITH_RAM: ReadonlySet<MigrationStatus> = new Set([
  'active',
  'cancelling',
  'pre-switchover',
  'device',
  'completed',
]);

/**
 * The answer of `query-migrate` at a source.
 * @param status as QEMU of this release would call it
 */
export function sourceInfo(
  progress: Progress,
  status: MigrationStatus,
  settings: MigrationSettings,
  release: Release,
): MigrationInfo {
  const info: MigrationInfo = { status };
  const { errorDesc } = progress;
  if (errorDesc !== undefined && (status === 'failed' || release.errorAlways)) info['error-desc'] = errorDesc;
  if (!WITH_RAM.has(status)) return info;
  info['total-time'] = Math.round(progress.elapsedMs);
  info['setup-time'] = Math.round(progress.setupTimeMs ?? 0);
  if (status === 'completed') info.downtime = Math.round(progress.downtimeMs ?? 0);
  else {
    // Before a bandwidth is known QEMU expects what is allowed.
    const expected = progress.expectedDowntimeMs ?? Number(settings.valueOf('downtime-limit'));
    info['expected-downtime'] = Math.round(expected);
  }
  info.ram = ramStats(progress, release);
  const { xbzrleCache, compression, cpuThrottlePercentage } = progress;
  if (xbzrleCache !== undefined) {
    info['xbzrle-cache'] = {
      'cache-size': xbzrleCache.cacheSize,
      bytes: xbzrleCache.bytes,
      pages: xbzrleCache.pages,
      'cache-miss': xbzrleCache.cacheMiss,
      'cache-miss-rate': xbzrleCache.cacheMissRate,
      'encoding-rate': xbzrleCache.encodingRate,
      overflow: xbzrleCache.overflow,
    };
  }
  if (compression !== undefined) {
    info.compression = {
      pages: compression.pages,
      busy: compression.busy,
      'busy-rate': compression.busyRate,
      'compressed-size': compression.compressedSize,
      'compression-rate': compression.compressionRate,
    };
  }
  if (cpuThrottlePercentage !== undefined) info['cpu-throttle-percentage'] = cpuThrottlePercentage;
  const { dirtyLimitThrottleTimePerRoundUs, dirtyLimitRingFullTimeUs } = progress;
  if (dirtyLimitThrottleTimePerRoundUs !== undefined) {
    info['dirty-limit-throttle-time-per-round'] = dirtyLimitThrottleTimePerRoundUs;
    info['dirty-limit-ring-full-time'] = dirtyLimitRingFullTimeUs ?? 0;
  }
  return info;
}

function ramStats({ ram, status }: Progress, release: Release): MigrationStats {
  const whole: MigrationStats = { ...ram };
  for (const name of Object.keys(whole) as (keyof MigrationStats)[]) {
    if (name !== 'mbps') whole[name] = Math.round(whole[name]!);
  }
  if (release.skipped) whole.skipped = 0;
  if (status === 'completed') {
    whole.remaining = 0;
    whole['dirty-pages-rate'] = 0;
  }
  return whole;
}

/**
 * The answer of `query-migrate` at a destination.
 * @param listening where it listens, until the guest is there
 */
export function destinationInfo(
  progress: Pick<Progress, 'status' | 'errorDesc'>,
  listening: SocketAddressInfo | undefined,
  release: Release,
): MigrationInfo {
  const info: MigrationInfo = {};
  const { status, errorDesc } = progress;
  if (status !== 'none' && (status !== 'setup' || release.incomingSetup)) info.status = status;
  if (errorDesc !== undefined && release.errorAlways) info['error-desc'] = errorDesc;
  if (listening !== undefined && (status === 'setup' || status === 'active'))
    info['socket-address'] = [listening];
  return info;
}
