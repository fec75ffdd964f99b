import { MigrationError } from '@pageferry/core';
import { resolveMigrateOptions } from '@pageferry/core/control';
import {
  CONTENT_MIXES,
  type ContentMix,
  DEFAULT_MAC,
  parseMac,
  WORKLOADS,
  type Workload,
} from '@pageferry/core/guest';
import { useHugePages } from '@pageferry/workers';
import { type Command, Option } from 'commander';
import type { Context } from '../context.ts';
import { type DemoResult, runDemo } from '../demo/run-demo.ts';
import { runSnapshot } from '../demo/run-snapshot.ts';
import { formatBytes, formatCount, formatRate, formatTime } from '../format.ts';
import { addMigrationFlags, FOR_FILES, FOR_MONITORS, type MigrationFlags } from '../migration-flags.ts';
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
  mac?: string;
  network?: string;
  snapshot?: string;
}

const EXAMPLES = `
Pages travel over 2 multifd channels; --capability multifd=off sends them over
the plain one. The downtime is the migration's: hashing the RAM on both sides is
counted apart, and --no-verify leaves it out.

Examples:
  pageferry demo
  pageferry demo --multifd-compression zstd --multifd-channels 4
  pageferry demo --memory 2G --dirty-rate 500M --max-bandwidth 1G
  pageferry demo --snapshot guest.img
      the guest runs on while guest.img is written; a second process loads it
  pageferry demo --network udp:192.0.2.7:9000 --announce-rounds 3
      the second process tells the network where the guest is now
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
    .option(
      '--snapshot <file>',
      'write a background snapshot of the running guest, and load it in the second process',
    )
    .option('--network <where>', "where the guest's NIC announces it after the move: udp:HOST:PORT, tap:NAME")
    .option('--mac <address>', `the NIC's MAC address, with --network (default: ${DEFAULT_MAC})`)
    .addHelpText('after', EXAMPLES)
    .action((flags: DemoFlags) => run(flags, context));
  addMigrationFlags(command, {
    sides: ['source', 'destination'],
    without: {
      'mapped-ram': FOR_FILES,
      'pause-before-switchover': FOR_MONITORS,
      'background-snapshot': 'is what --snapshot FILE does',
    },
  });
  return command;
}

async function run(flags: DemoFlags, context: Context): Promise<void> {
  const { memory, vcpus, dirtyRate, content, workload, verify, mac, network, snapshot } = flags;
  const { output } = context;
  checkNetworkFlags(flags);
  const multifd = snapshot === undefined;
  const plan = {
    machine: {
      ...{ memoryBytes: memory, vcpus, dirtyRateBytesPerSecond: dirtyRate, content, workload, verify },
      ...(network !== undefined && { nic: { mac } }),
    },
    migrate: { ...toMigrateOptions(flags, multifd), ...(!multifd && { backgroundSnapshot: true }) },
    receive: toReceiveOptions(
      onlyCompresses(flags) ? { ...flags, multifdBackend: undefined } : flags,
      multifd,
    ),
    network,
  };
  resolveMigrateOptions(plan.migrate);
  output.note(
    `a guest with ${formatBytes(memory)} of RAM (${content}) and ${vcpus} vCPUs ` +
      `that dirty ${formatRate(dirtyRate)} (${workload}) ` +
      (snapshot === undefined ? 'moves to a second process' : `is written into ${snapshot} while it runs`),
  );
  await useHugePages();
  const result =
    snapshot === undefined ? await runDemo(plan, context) : await runSnapshot(plan, snapshot, context);
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

/** What a guest without a NIC has no use for. @throws MigrationError `bad-option` */
function checkNetworkFlags(flags: DemoFlags): void {
  if (flags.mac !== undefined) parseMac(flags.mac);
  if (flags.network !== undefined) return;
  const given = Object.keys(flags).find((key) => key === 'mac' || /^announce[A-Z]/.test(key));
  if (given === undefined) return;
  const name = given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw new MigrationError('bad-option', `--${name} needs --network`);
}

/** A backend that the source can have and the destination cannot: what it makes, any zstd reads. */
function onlyCompresses(flags: MigrationFlags): boolean {
  return flags.multifdBackend === 'mongodb-zstd';
}
