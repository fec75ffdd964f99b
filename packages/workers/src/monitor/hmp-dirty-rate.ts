import type { DirtyLimitInfo, DirtyRateInfo } from '@pageferry/core/qmp';

/** `info dirty_rate`, out of the answer of query-dirty-rate. */
export function dirtyRateLines(info: DirtyRateInfo): string[] {
  const rate = info['dirty-rate'];
  const unit = info['calc-time-unit'] === 'millisecond' ? 'ms' : 'sec';
  return [
    `Status: ${info.status}`,
    `Start Time: ${info['start-time']} (ms)`,
    ...(info.mode === 'page-sampling' ? [`Sample Pages: ${info['sample-pages']} (per GB)`] : []),
    `Period: ${info['calc-time']} (${unit})`,
    `Mode: ${info.mode}`,
    `Dirty rate: ${rate === undefined ? '(not ready)' : `${rate} (MB/s)`}`,
    ...(info['vcpu-dirty-rate'] ?? []).map(
      (vcpu) => `vcpu[${vcpu.id}], Dirty rate: ${vcpu['dirty-rate']} (MB/s)`,
    ),
  ];
}

/** `info vcpu_dirty_limit`, out of the answer of query-vcpu-dirty-limit. */
export function dirtyLimitLines(limits: readonly DirtyLimitInfo[]): string[] {
  if (limits.length === 0) return ['no vCPU has a dirty limit'];
  return limits.map(
    (limit) =>
      `vcpu[${limit['cpu-index']}], limit rate ${limit['limit-rate']} (MB/s), ` +
      `current rate ${limit['current-rate']} (MB/s)`,
  );
}
