import { setTimeout as delay } from 'node:timers/promises';
import { type ErrorCode, MigrationError } from '@pageferry/core';
import type { MigrateOptions, MigrationResult, ReceiveOptions } from '@pageferry/core/control';
import { BuiltinMachine, type BuiltinMachineOptions, type CheckReport } from '@pageferry/core/guest';
import { migrate, prepareEngine } from '@pageferry/workers';
import type { Context } from '../context.ts';
import { followProgress, progressIntervalMs } from '../follow-progress.ts';
import type { DestinationReport } from './destination.ts';
import { DestinationProcess } from './destination-process.ts';

export interface DemoPlan {
  readonly machine: BuiltinMachineOptions & { readonly vcpus: number };
  readonly migrate: MigrateOptions;
  readonly receive: ReceiveOptions;
  /** Where the machine's NIC announces it after the move. */
  readonly network?: string | undefined;
}

/** What a demo has to say in the end. */
export interface DemoResult extends MigrationResult {
  /** Time of the switch-over that went into hashing RAM on both sides; not part of `downtimeMs`. */
  readonly verifyMs: number;
  readonly verified: boolean;
  readonly check: CheckReport;
}

/** How long the machine runs before it is migrated. */
export const RUN_BEFORE_MS = 200;

/** Migrates a running built-in machine into a process of its own. */
export async function runDemo(plan: DemoPlan, { output, signal }: Context): Promise<DemoResult> {
  const { memoryBytes, vcpus } = plan.machine;
  const destination = new DestinationProcess({
    memoryBytes,
    vcpus,
    options: plan.receive,
    network: plan.network,
  });
  const engine = prepareEngine({ ...plan.migrate, direction: 'outgoing' });
  const creating = BuiltinMachine.create(plan.machine);
  try {
    const ready = Promise.all([creating, destination.listening, engine.ready]);
    const [machine, address] = await orCancelled(ready, signal);
    output.event('listening', { address });
    machine.start();
    await orCancelled(delay(RUN_BEFORE_MS), signal);
    const migration = migrate(machine, address, {
      ...plan.migrate,
      engine,
      signal,
      progressIntervalMs: progressIntervalMs(output),
    });
    const shown = followProgress(migration.progress, output);
    const result = await migration.result.catch((error) => theCause(error, destination));
    await shown;
    const report = await orCancelled(destination.report, signal);
    // The guest stands still while both sides hash, one after the other: first the source, whose hashes travel
    // with the device state, then the destination.
    return judge(result, machine.verifyMs + report.verifyMs, report, plan);
  } finally {
    const closed = creating.then((machine) => machine.close()).catch(() => {});
    // A machine that is still being made cannot be hurried; who pressed Ctrl-C does not wait for it.
    await Promise.all([destination.stop(), engine.close(), signal.aborted ? undefined : closed]);
  }
}

/** What a source sees when its destination went away. */
const CONSEQUENCES: ReadonlySet<unknown> = new Set<ErrorCode>([
  'destination-failed',
  'connection-lost',
  'connect-failed',
  'truncated',
]);

/** How long the destination may take to say why it went away, in ms. */
const LAST_WORDS_MS = 1000;

/** When the destination gave up, its own error says why; the source has only seen the consequence. */
async function theCause(error: unknown, destination: DestinationProcess): Promise<never> {
  if (error instanceof MigrationError && CONSEQUENCES.has(error.code)) {
    await Promise.race([destination.report, delay(LAST_WORDS_MS, undefined, { ref: false })]);
  }
  throw error;
}

/** @param verifyMs time of the guest's gap that went into hashing */
export function judge(
  result: MigrationResult,
  verifyMs: number,
  { verifyMs: destinationVerifyMs, check, ranOn }: DestinationReport,
  plan: DemoPlan,
): DemoResult {
  const hashed = plan.machine.verify !== true || destinationVerifyMs > 0;
  const idle = plan.machine.dirtyRateBytesPerSecond === 0;
  return {
    ...result,
    downtimeMs: Math.max(0, result.downtimeMs - verifyMs),
    verifyMs,
    verified: hashed && check.ok && (ranOn || idle),
    check,
  };
}

/** `promise`, or the error `cancelled` as soon as the signal aborts. */
export async function orCancelled<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(new MigrationError('cancelled', 'the migration was cancelled'));
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
    aborted.promise.catch(() => {});
  }
}
