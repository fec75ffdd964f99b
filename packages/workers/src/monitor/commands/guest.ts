import { DIRTY_RATE_MODES } from '@pageferry/core/guest';
import { type QmpCommand, QmpError } from '@pageferry/core/qmp';
import { z } from 'zod';
import { command } from '../command.ts';
import type { Monitor } from '../monitor.ts';

const UNIT = z.enum(['second', 'millisecond']).optional();

/** What concerns the guest's vCPUs and NICs. */
export function guestCommands(monitor: Monitor): Record<string, QmpCommand> {
  const { dirtyRates, machine, outgoing, release, settings } = monitor;
  /** A migration with dirty-limit sets the limits, and takes them away at its end. */
  const refuseIfMigrationLimits = () => {
    if (!outgoing.running || !settings.isOn('dirty-limit') || dirtyRates.limits().length === 0) return;
    throw new QmpError('the migration limits the vCPUs now: dirty-limit is on');
  };
  const unit = release.dirtyRateUnit ? { 'calc-time-unit': UNIT } : ({} as { 'calc-time-unit': typeof UNIT });
  const limits: Record<string, QmpCommand> = {
    'set-vcpu-dirty-limit': command(
      { 'cpu-index': z.int().optional(), 'dirty-rate': z.int() },
      ({ 'cpu-index': cpuIndex, 'dirty-rate': rate }) => {
        refuseIfMigrationLimits();
        dirtyRates.limit(rate, cpuIndex);
      },
    ),
    'cancel-vcpu-dirty-limit': command({ 'cpu-index': z.int().optional() }, ({ 'cpu-index': cpuIndex }) => {
      refuseIfMigrationLimits();
      dirtyRates.unlimit(cpuIndex);
    }),
    'query-vcpu-dirty-limit': command({}, () => dirtyRates.limits()),
  };
  return {
    'announce-self': command(
      {
        initial: z.int(),
        max: z.int(),
        rounds: z.int(),
        step: z.int(),
        interfaces: z.array(z.string()).optional(),
        id: z.string().optional(),
      },
      ({ initial, max, rounds, step, interfaces, id }) => {
        const parameters = { initialMs: initial, maxMs: max, rounds, stepMs: step };
        machine.guest?.guest.announceSelf?.(parameters, {
          ...(interfaces !== undefined && { interfaces }),
          ...(id !== undefined && { id }),
        });
      },
    ),
    'calc-dirty-rate': command(
      {
        'calc-time': z.int(),
        ...unit,
        'sample-pages': z.int().optional(),
        mode: z.enum(DIRTY_RATE_MODES).optional(),
      },
      ({
        'calc-time': time,
        'calc-time-unit': of = 'second',
        'sample-pages': samplePages,
        mode = 'page-sampling',
      }) => dirtyRates.calculate({ time, unit: of, mode, samplePages }),
    ),
    'query-dirty-rate': command(unit, ({ 'calc-time-unit': of = 'second' }) => dirtyRates.query(of)),
    ...(release.dirtyLimits ? limits : {}),
  };
}
