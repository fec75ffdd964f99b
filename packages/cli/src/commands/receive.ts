import { MigrationError } from '@pageferry/core';
import { CaptureTarget } from '@pageferry/core/capture';
import { receive, useHugePages } from '@pageferry/workers';
import { type Command, Option } from 'commander';
import type { Context } from '../context.ts';
import { showFileProgress } from '../file-progress.ts';
import { followProgress, progressIntervalMs } from '../follow-progress.ts';
import { formatBytes, formatTime } from '../format.ts';
import { ANNOUNCEMENTS, addMigrationFlags, FOR_FILES, type MigrationFlags } from '../migration-flags.ts';
import { toReceiveOptions } from '../migration-options.ts';
import { parseMemPath, parseUuidOption } from '../values.ts';

interface ReceiveFlags extends MigrationFlags {
  out: string;
  format: 'mapped-ram' | 'stream';
  uuid?: Uint8Array;
  machine?: string;
  memPath?: Record<string, string>;
}

const EXAMPLES = `
The source decides what is sent and how; multifd and its compression must be
the same here.

Examples:
  pageferry receive tcp:0.0.0.0:4444 --out vm.img
      and in the monitor of the QEMU: migrate -d tcp:HOST:4444
  pageferry receive unix:/run/vm.sock --out vm.img --multifd-compression zstd
      with the capability multifd and the same compression set in the QEMU

When the file is whole, the QEMU is in the state postmigrate. Its guest stands
still and can go on there with \`cont\`, unless it is started from the file:
both at once would share their disks.
`;

/** `pageferry receive`: a destination that captures the guest into a file. */
export function defineReceive(program: Command, context: Context): Command {
  const command = program
    .command('receive')
    .description("be a migration's destination and keep the guest in a file")
    .argument(
      '<uri>',
      'where to listen: tcp:HOST:PORT (port 0: any), unix:PATH, exec:COMMAND, fd:N, file:PATH',
    )
    .requiredOption('--out <file>', 'the file to write; it appears when it is whole')
    .addOption(
      new Option('--format <format>', 'a file for -incoming file: with mapped-ram, or the plain stream')
        .choices(['mapped-ram', 'stream'])
        .default('mapped-ram'),
    )
    .addOption(new Option('--uuid <uuid>', 'the guest must have this UUID').argParser(parseUuidOption))
    .option('--machine <type>', 'the machine type that must come; needed up to 2.3, which do not say it')
    .addOption(
      new Option(
        '--mem-path <block=file>',
        "with x-ignore-shared: the file that is the source's shared RAM block; its content is captured as well",
      ).argParser(parseMemPath),
    )
    .addHelpText('after', EXAMPLES)
    .action((uri: string, flags: ReceiveFlags) => run(uri, flags, context));
  addMigrationFlags(command, {
    sides: ['destination'],
    without: { 'mapped-ram': FOR_FILES },
    withoutParameters: ANNOUNCEMENTS,
  });
  return command;
}

async function run(uri: string, flags: ReceiveFlags, { output, signal }: Context): Promise<void> {
  const { out, format, uuid, machine, memPath } = flags;
  await useHugePages();
  const guest = new CaptureTarget({
    path: out,
    format,
    uuid,
    sharedFiles: memPath,
    onProgress: showFileProgress(output, 'writing', out),
  });
  const options = toReceiveOptions(flags, false);
  if (memPath !== undefined && !options.ignoreShared) {
    throw new MigrationError('bad-option', '--mem-path needs --capability x-ignore-shared');
  }
  if (options.ignoreShared && format === 'mapped-ram' && memPath === undefined) {
    throw new MigrationError(
      'bad-option',
      '--capability x-ignore-shared needs --format stream, or --mem-path',
    );
  }
  // A guest may be on its way for hours: a name that cannot be written is told now.
  await guest.checkPath();
  const reception = receive(uri, {
    ...options,
    machine,
    guest,
    signal,
    progressIntervalMs: progressIntervalMs(output),
  });
  const announced = reception.listening.then((address) => {
    output.event('listening', { address });
    output.note(`${/^(tcp|unix):/.test(address) ? 'listening on' : 'reading from'} ${address}`);
  });
  const shown = followProgress(reception.progress, output);
  const [result] = await Promise.all([reception.result, announced, shown]);
  for (const warning of result.warnings) output.note(`warning: ${warning}`);
  output.event('result', { ...result, file: out, format });
  output.result(
    `${out}: the guest with ${formatBytes(result.ram.total)} of RAM, ` +
      `${formatBytes(result.ram.transferred)} received in ${formatTime(result.totalTimeMs)}`,
  );
  const absent = guest.result?.absent ?? [];
  if (absent.length > 0) {
    output.result(
      `Without ${absent.join(', ')}, which is shared memory: whoever loads the file needs the same memory, and ` +
        'capability x-ignore-shared.',
    );
  }
  if (uri.startsWith('file:')) return;
  output.result(
    'A QEMU that sent it is in the state postmigrate now; `cont` in its monitor lets its guest go on there.',
  );
}
