import { MigrationError } from '@pageferry/core';
import { inspectCapture } from '@pageferry/core/capture';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { showFileProgress } from '../file-progress.ts';
import { inspectText } from '../inspect-text.ts';

interface InspectFlags {
  devices?: boolean;
}

const EXAMPLES = `
A damaged file is shown up to the damage; the exit code is 1 then. With --json
one line of event "report" holds everything, the fields included.

Examples:
  pageferry inspect vm.img
  pageferry inspect vm.img --json | jq '.report.ram.blocks[] | {idstr, bytes}'
`;

/** `pageferry inspect`: what is in a capture, and which QEMU can load it. */
export function defineInspect(program: Command, context: Context): Command {
  return program
    .command('inspect')
    .description('describe a captured guest and how to load it')
    .argument('<file>', 'a capture: mapped-ram or plain stream')
    .option('--devices', 'list the fields of each device section')
    .addHelpText('after', EXAMPLES)
    .action((file: string, flags: InspectFlags) => run(file, flags, context));
}

async function run(file: string, flags: InspectFlags, { output, signal }: Context): Promise<void> {
  const onProgress = showFileProgress(output, 'reading', file);
  const report = await inspectCapture(file, { signal, onProgress });
  output.event('report', { report });
  // The report is long and stdout has it already: people who asked for JSON get no copy of it.
  if (!output.json) output.result(inspectText(report, flags.devices === true));
  const { damage } = report;
  if (damage !== undefined) throw MigrationError.fromPlain({ phase: 'file', channel: file, ...damage });
}
