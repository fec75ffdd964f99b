import { MigrationError } from '@pageferry/core';
import { CONTENT_MIXES, type ContentMix, WORKLOADS, type Workload } from '@pageferry/core/guest';
import { type Command, Option } from 'commander';
import type { Context } from '../context.ts';
import { type DemoResult, runDemo } from '../demo/run-demo.ts';
import { formatBytes, formatCount, formatRate, formatTime } from '../format.ts';
import {
  ANNOUNCEMENTS,
  addMigrationFlags,
  FOR_FILES,
  FOR_MONITORS,
  type MigrationFlags,
} from '../migration-flags.ts';
import { toMigrateOptions, toReceiveOptions } from '../migration-options.ts';
import { migrationSummary } from '../migration-summary.ts';
import { parseInteger, parseSize } from '../values.ts';

interface DemoFlags extends MigrationFlags {
  memory: number;
  vcpus: number;
  dirtyRate: number;
  content: ContentMix;
  workload: Workload;
  verify: boolean;
}

const EXAMPLES = `
Pages travel over 2 multifd channels; --capability multifd=off sends them over
the plain one. The downtime is the migration's: hashing the RAM on both sides is
counted apart, and --no-verify leaves it out.

Examples:
  pageferry demo
  pageferry demo --multifd-compression zstd --multifd-channels 4
  pageferry demo --memory 2G --dirty-rate 500M --max-bandwidth 1G
  pageferry demo --json | tail -n 1 | jq .downtimeMs
`;

/** `pageferry demo`: a running guest moves between two processes of this machine, and proves it. */
export function defineDemo(program: Command, context: Context): Command {
  const command = program
    .command('demo')
    .description('migrate a running built-in machine into a second process and prove that nothing was lost')
    .addOption(
      new Option('--memory <size>', "the guest's RAM").argParser(parseSize).default(512 * 2 ** 20, '512M'),
    )
    .addOption(new Option('--vcpus <n>', 'threads that write it').argParser(parseInteger(1, 64)).default(2))
    .addOption(
      new Option('--dirty-rate <size>', 'bytes of pages that they dirty per second')
        .argParser(parseSize)
        .default(64 * 2 ** 20, '64M'),
    )
    .addOption(new Option('--content <mix>', 'what the RAM holds').choices(CONTENT_MIXES).default('mixed'))
    .addOption(new Option('--workload <kind>', 'which pages they write').choices(WORKLOADS).default('random'))
    .option(
      '--no-verify',
      "do not hash both sides' RAM at the switch-over: the guest's gap is the downtime alone",
    )
    .addHelpText('after', EXAMPLES)
    .action((flags: DemoFlags) => run(flags, context));
  addMigrationFlags(command, {
    sides: ['source', 'destination'],
    without: { 'mapped-ram': FOR_FILES, 'pause-before-switchover': FOR_MONITORS },
    withoutParameters: ANNOUNCEMENTS,
  });
  return command;
}

async function run(flags: DemoFlags, context: Context): Promise<void> {
  const { memory, vcpus, dirtyRate, content, workload, verify } = flags;
  const { output } = context;
  const plan = {
    machine: { memoryBytes: memory, vcpus, dirtyRateBytesPerSecond: dirtyRate, content, workload, verify },
    migrate: toMigrateOptions(flags, true),
    receive: toReceiveOptions(onlyCompresses(flags) ? { ...flags, multifdBackend: undefined } : flags, true),
  };
  output.note(
    `a guest with ${formatBytes(memory)} of RAM (${content}) and ${vcpus} vCPUs ` +
      `that dirty ${formatRate(dirtyRate)} (${workload}) moves to a second process`,
  );
  const result = await runDemo(plan, context);
  for (const warning of result.warnings) output.note(`warning: ${warning}`);
  const { check, verified } = result;
  output.event('result', result);
  for (const line of migrationSummary(result, verificationRows(result))) output.result(line);
  if (!verified) {
    const problem = check.problems[0] ?? 'it does not run on, or its hashes were not compared';
    throw new MigrationError('verify-failed', `the guest is not the same after the move: ${problem}`);
  }
}

function verificationRows({ verified, verifyMs, check }: DemoResult): string[][] {
  const words = verified ? 'the guest is whole' : 'THE GUEST IS NOT THE SAME';
  const hashed = verifyMs > 0 ? `, RAM hashed on both sides in ${formatTime(verifyMs)}` : '';
  const checked = `${formatCount(check.pagesChecked)} pages checked after ${formatCount(check.writes)} writes`;
  return [['verified', `${words}${hashed}, ${checked}`]];
}

/** A backend that the source can have and the destination cannot: what it makes, any zstd reads. */
function onlyCompresses(flags: MigrationFlags): boolean {
  return flags.multifdBackend === 'mongodb-zstd';
}
