import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError, type PlainMigrationError } from '@pageferry/core';
import type { MigrationResult, ReceiveOptions } from '@pageferry/core/control';
import { BuiltinMachineTarget, type CheckReport } from '@pageferry/core/guest';
import { openNetworkBackend, prepareEngine, receive, useHugePages } from '@pageferry/workers';

/**
 * The second process of `pageferry demo`: takes the machine in, lets it run on, and has it check itself.
 * It talks with the first process over Node's channel between parent and child, and ends with it.
 */

/** What the first process asks for. */
export interface DestinationOrder {
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly options: ReceiveOptions;
  /** A snapshot to load; without it the process listens. */
  readonly file?: string | undefined;
  /** Where the machine's NIC announces it, as `openNetworkBackend` takes it. */
  readonly network?: string | undefined;
}

/** What came of it. */
export interface DestinationReport {
  readonly result: MigrationResult;
  /** Milliseconds of the switch-over that went into hashing RAM here; 0: nothing was compared. */
  readonly verifyMs: number;
  readonly check: CheckReport;
  /** Whether the machine went on with its work here. */
  readonly ranOn: boolean;
}

export type DestinationMessage =
  | { readonly type: 'listening'; readonly address: string }
  | { readonly type: 'report'; readonly report: DestinationReport }
  | { readonly type: 'failed'; readonly error: PlainMigrationError };

/** How long the machine runs here before it checks itself. */
const RUN_ON_MS = 300;

async function takeIn(order: DestinationOrder): Promise<DestinationReport> {
  const { memoryBytes, vcpus, options, file } = order;
  const network = order.network === undefined ? undefined : await openNetworkBackend(order.network);
  await useHugePages();
  const target = new BuiltinMachineTarget({ memoryBytes, vcpus, ...(network && { network }) });
  const engine = prepareEngine({ ...options, direction: 'incoming' });
  await Promise.all([target.warmUp(), engine.ready]);
  const uri = file === undefined ? 'tcp:127.0.0.1:0' : `file:${file}`;
  const reception = receive(uri, { ...options, guest: target, engine });
  tell({ type: 'listening', address: await reception.listening });
  const result = await reception.result;
  const { machine, verifyMs } = target;
  const writesBefore = machine.writes;
  await delay(RUN_ON_MS);
  const check = await machine.check();
  return { result, verifyMs, check, ranOn: machine.running() && check.writes > writesBefore };
}

function tell(message: DestinationMessage): void {
  process.send?.(message);
}

// Ctrl-C reaches both processes; the first one decides, and closes the channel when it is done.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
process.on('disconnect', () => process.exit());
// The first process may have ended while this one was being loaded.
if (!process.connected) process.exit();
process.once('message', async (order: DestinationOrder) => {
  try {
    tell({ type: 'report', report: await takeIn(order) });
  } catch (error) {
    tell({ type: 'failed', error: MigrationError.from(error, 'internal').toPlain() });
  }
});
