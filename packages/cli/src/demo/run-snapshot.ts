import { setTimeout as delay } from 'node:timers/promises';
import { BuiltinMachine } from '@pageferry/core/guest';
import { migrate } from '@pageferry/workers';
import type { Context } from '../context.ts';
import { followProgress, progressIntervalMs } from '../follow-progress.ts';
import { DestinationProcess } from './destination-process.ts';
import { type DemoPlan, type DemoResult, judge, orCancelled, RUN_BEFORE_MS } from './run-demo.ts';

/**
 * Writes a running built-in machine into `file` as it is at one moment, and has a process of its own load it from
 * there. Both machines check themselves.
 */
export async function runSnapshot(
  plan: DemoPlan,
  file: string,
  { output, signal }: Context,
): Promise<DemoResult> {
  const { memoryBytes, vcpus } = plan.machine;
  let destination: DestinationProcess | undefined;
  const creating = BuiltinMachine.create(plan.machine);
  try {
    const machine = await orCancelled(creating, signal);
    machine.start();
    await orCancelled(delay(RUN_BEFORE_MS), signal);
    const migration = migrate(machine, `file:${file}`, {
      ...plan.migrate,
      signal,
      progressIntervalMs: progressIntervalMs(output),
    });
    const shown = followProgress(migration.progress, output);
    const [result] = await Promise.all([migration.result, shown]);
    const { network } = plan;
    destination = new DestinationProcess({ memoryBytes, vcpus, options: plan.receive, file, network });
    const report = await orCancelled(destination.report, signal);
    const judged = judge(result, machine.verifyMs, report, plan);
    const ran = machine.running();
    const check = await orCancelled(machine.check(), signal);
    if (ran && check.ok) return judged;
    const problems = ran ? check.problems : ['the machine that was written does not run on'];
    return { ...judged, verified: false, check: { ...check, problems } };
  } finally {
    const closed = creating.then((machine) => machine.close()).catch(() => {});
    await Promise.all([destination?.stop(), signal.aborted ? undefined : closed]);
  }
}
