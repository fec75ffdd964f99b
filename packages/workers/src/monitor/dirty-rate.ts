import { MigrationError } from '@pageferry/core';
import { DirtyRateMeter, type DirtyRateInfo as Measured, VcpuThrottle } from '@pageferry/core/guest';
import type { DirtyLimitInfo, DirtyRateInfo, DirtyRateMode, DirtyRateUnit } from '@pageferry/core/qmp';
import type { Machine } from './machine.ts';
import type { Release } from './release.ts';

export interface CalcDirtyRate {
  /** In units of `unit`. */
  readonly time: number;
  readonly unit: DirtyRateUnit;
  readonly mode: DirtyRateMode;
  readonly samplePages: number | undefined;
}

const UNIT_MS: Readonly<Record<DirtyRateUnit, number>> = { second: 1000, millisecond: 1 };
const LONGEST_MS = 60_000;

/** How fast the guest's vCPUs dirty memory, and how fast they may. */
export class DirtyRates {
  readonly #machine: Machine;
  readonly #release: Release;
  readonly #log: (text: string) => void;
  #meter: DirtyRateMeter | undefined;

  constructor(machine: Machine, release: Release, log: (text: string) => void) {
    this.#machine = machine;
    this.#release = release;
    this.#log = log;
  }

  /** QMP's calc-dirty-rate: begins to measure. @throws MigrationError */
  async calculate({ time, unit, mode, samplePages }: CalcDirtyRate): Promise<void> {
    const calcTimeMs = time * UNIT_MS[unit];
    if (!this.#release.dirtyRateUnit && time < 1) throw outOfRange('calc-time', time, '1 to 60');
    if (calcTimeMs > LONGEST_MS) throw outOfRange('calc-time', time, '60 seconds at most');
    const meter = this.#meterOfGuest();
    const refused = Promise.withResolvers<never>();
    refused.promise.catch(() => {});
    const measured = meter.measure({ calcTimeMs, mode, ...(samplePages !== undefined && { samplePages }) });
    measured.catch((error: Error) => {
      refused.reject(error);
      this.#log(`calc-dirty-rate: ${error.message}`);
    });
    // What is refused is refused before anything is waited for.
    await Promise.race([new Promise((resolve) => setImmediate(resolve)), refused.promise]);
  }

  /** QMP's query-dirty-rate. @param unit of the answer's `calc-time` */
  query(unit: DirtyRateUnit): DirtyRateInfo {
    const { status, dirtyRate, startTimeMs, calcTimeMs, samplePages, mode, vcpuDirtyRate } =
      this.#meter?.query() ?? UNSTARTED;
    return {
      status,
      ...(dirtyRate !== undefined && { 'dirty-rate': dirtyRate }),
      'sample-pages': samplePages,
      mode,
      ...(this.#release.dirtyRateUnit && { 'calc-time-unit': unit }),
      'start-time': Math.floor(startTimeMs / 1000),
      'calc-time': Math.floor(calcTimeMs / UNIT_MS[unit]),
      ...(vcpuDirtyRate !== undefined && {
        'vcpu-dirty-rate': vcpuDirtyRate.map(({ id, dirtyRate: rate }) => ({ id, 'dirty-rate': rate })),
      }),
    };
  }

  /** QMP's set-vcpu-dirty-limit, for one vCPU or all. @throws MigrationError */
  limit(mibPerSecond: number, cpuIndex: number | undefined): void {
    const throttle = this.#throttle();
    if (throttle === undefined) {
      throw new MigrationError('unsupported', "this guest's vCPUs cannot be slowed down here");
    }
    throttle.limitDirtyRate(mibPerSecond, cpuIndex);
  }

  /** QMP's cancel-vcpu-dirty-limit; where there is no limit nothing happens. @throws MigrationError */
  unlimit(cpuIndex: number | undefined): void {
    const throttle = this.#throttle();
    if (throttle !== undefined && throttle.dirtyLimits().length > 0) throttle.limitDirtyRate(0, cpuIndex);
  }

  /** QMP's query-vcpu-dirty-limit. */
  limits(): DirtyLimitInfo[] {
    const limits = this.#throttle()?.dirtyLimits() ?? [];
    return limits.map(({ cpuIndex, limitRate, currentRate }) => ({
      'cpu-index': cpuIndex,
      'limit-rate': limitRate,
      'current-rate': currentRate,
    }));
  }

  close(): void {
    this.#meter?.close();
  }

  #meterOfGuest(): DirtyRateMeter {
    const guest = this.#machine.guest?.guest;
    if (guest === undefined) throw new MigrationError('bad-state', 'the guest has not arrived');
    this.#meter ??= new DirtyRateMeter(guest);
    return this.#meter;
  }

  #throttle(): VcpuThrottle | undefined {
    const words = this.#machine.guest?.guest.memory.throttle;
    return words && new VcpuThrottle(words);
  }
}

const UNSTARTED: Measured = {
  status: 'unstarted',
  startTimeMs: 0,
  calcTimeMs: 0,
  samplePages: 0,
  mode: 'page-sampling',
};

function outOfRange(name: string, found: number, expected: string): MigrationError {
  return new MigrationError('bad-option', `${name} is out of range`, { found: String(found), expected });
}
