/**
 * Migrations by QEMU and by pageferry, of the same bytes, in turns: a machine's speed changes from minute to
 * minute, so only what was measured in the same run is compared.
 *   npm run bench:qemu -- [options]     (--help lists them)
 * pageferry runs from `dist`, as installed packages do.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeGuestImage } from './guest-image.ts';
import { measureLimits } from './limits.ts';
import { describeMachine } from './machine.ts';
import { measure, type Run, type Setup } from './measure.ts';
import { type Row, rowsOf, rowTitle } from './modes.ts';
import { type BenchOptions, parseOptions, USAGE, UsageError } from './options.ts';
import { PageferryError } from './pageferry-process.ts';
import { chooseQemu } from './qemu-process.ts';
import { type BenchReport, formatComparison, readBaseline, toBaseline } from './report.ts';
import { type RowRuns, summarize } from './summary.ts';
import { formatReport } from './table.ts';

/** A code of MigrationError that says that pageferry cannot do what it was asked for. */
const UNSUPPORTED = ['unsupported', 'bad-option'];

/** The running guest's code has 32-bit addresses. */
const HEARTBEAT_LIMIT_BYTES = 3 * 2 ** 30;

interface Measured extends RowRuns {
  readonly runs: (Run | undefined)[];
  unsupported?: string;
}

async function main(options: BenchOptions): Promise<void> {
  const qemu = chooseQemu(options.qemu);
  const baseline = options.compare === undefined ? undefined : readBaseline(options.compare);
  // All RAM is memory: a disk has no part in what is measured.
  const folder = mkdtempSync('/dev/shm/pageferry-bench-');
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  process.once('SIGINT', () => process.exit(130));
  process.once('SIGTERM', () => process.exit(143));

  const { guest, memoryBytes, dirtyRateBytesPerSecond, workingSetBytes } = options;
  console.error('the machine itself ...');
  const limits = await measureLimits();
  console.error(`the guest (${guest}) ...`);
  const image = await makeGuestImage(guest, memoryBytes, folder, options.cacheFolder, qemu);
  const heartbeat = {
    memoryBytes: Math.min(memoryBytes, HEARTBEAT_LIMIT_BYTES),
    dirtyRateBytesPerSecond,
    workingSetBytes,
  };
  const setup = { qemu, image, heartbeat, outPath: join(folder, 'out') };
  const measured = await measureAll(options, setup);
  const report: BenchReport = {
    date: new Date().toISOString(),
    machine: describeMachine(qemu),
    limits,
    guest: { name: guest, memoryBytes, nonZeroBytes: image.nonZeroBytes },
    options,
    rows: summarize(measured),
  };
  if (options.json === '-') console.log(JSON.stringify(report));
  else console.log(formatReport(report));
  if (options.json !== undefined && options.json !== '-') writeJson(options.json, report);
  if (options.baseline !== undefined) writeJson(options.baseline, toBaseline(report));
  if (baseline !== undefined) console.error(`\n${formatComparison(report, baseline)}`);
}

function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${JSON.stringify(value, undefined, 1)}\n`);
}

/** Each row once, then each row once more: what is compared is never far apart. */
async function measureAll(options: BenchOptions, setup: Setup): Promise<Measured[]> {
  const rows = rowsOf(options.modes, options.channels, options.pairs);
  const all = rows.map((row): Measured => ({ row, runs: [] }));
  for (let run = 0; run < options.runs; run++) {
    // Who goes first changes, so that none always follows the same other one's heat.
    for (const measured of run % 2 === 0 ? all : all.toReversed()) {
      if (measured.unsupported === undefined) await measureOnce(measured, setup, run);
    }
  }
  return all;
}

async function measureOnce(measured: Measured, setup: Setup, run: number): Promise<void> {
  const { row, runs } = measured;
  const title = `run ${run + 1} ${rowTitle(row)} ${row.pair}`;
  try {
    const result = await measure(row, setup, run === 0);
    runs.push(result);
    console.error(`${title}: ${result.wallMs.toFixed(0)} ms`);
  } catch (error) {
    if (isUnsupported(row, error)) {
      measured.unsupported = error.message;
    } else {
      // The others are still worth measuring.
      process.exitCode = 1;
      runs.push(undefined);
    }
    console.error(`${title}: ${error instanceof Error ? error.message : error}`);
  }
}

/** pageferry says of a way to migrate that it does not have it. */
function isUnsupported(row: Row, error: unknown): error is PageferryError {
  if (!(error instanceof PageferryError) || row.mode.kind !== 'file') return false;
  return error.code !== undefined && UNSUPPORTED.includes(error.code);
}

try {
  if (process.argv.includes('--help')) console.log(USAGE);
  else await main(parseOptions(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`${error.message}\n${USAGE}`);
  process.exitCode = 2;
}
