import { MigrationError } from '@pageferry/core';
import {
  type Capture,
  CapturedMachine,
  type LoadCaptureOptions,
  loadCapture,
  shareBlocks,
} from '@pageferry/core/capture';
import { type MigrateOptions, resolveMigrateOptions } from '@pageferry/core/control';
import { parseUri } from '@pageferry/core/transport';
import { migrate, prepareEngine, useHugePages } from '@pageferry/workers';
import { type Command, Option } from 'commander';
import type { Context } from '../context.ts';
import { showFileProgress } from '../file-progress.ts';
import { followProgress, progressIntervalMs } from '../follow-progress.ts';
import { GoOn } from '../go-on.ts';
import {
  addMigrationFlags,
  FOR_MOVING_GUESTS,
  FOR_RUNNING_GUESTS,
  FOR_VCPUS,
  FOR_WRITING_GUESTS,
  type MigrationFlags,
} from '../migration-flags.ts';
import { toMigrateOptions } from '../migration-options.ts';
import { migrationSummary } from '../migration-summary.ts';
import { parseMemPath, parseUuidOption } from '../values.ts';

interface SendFlags extends MigrationFlags {
  uuid?: Uint8Array;
  machine?: string;
  memPath?: Record<string, string>;
}

const EXAMPLES = `
Examples:
  pageferry send vm.img tcp:192.0.2.7:4444
      to a QEMU started for this machine with -incoming tcp:0.0.0.0:4444
      (pageferry inspect vm.img says how)
  pageferry send vm.img tcp:HOST:4444 --multifd-compression zstd
      the destination must have capability multifd and the compression set
  pageferry send vm.img file:new.img --capability mapped-ram
      a mapped-ram file, which a QEMU from 9.0 on loads with -incoming file:
  pageferry send vm.img tcp:HOST:4444 --capability pause-before-switchover
      sends all RAM, and the devices only after a line on standard input (Enter)
`;

/** `pageferry send`: a source that plays a captured guest into a QEMU or a pageferry. */
export function defineSend(program: Command, context: Context): Command {
  const command = program
    .command('send')
    .description('send a captured guest to a QEMU or a pageferry')
    .argument('<file>', 'a capture: mapped-ram or plain stream')
    .argument('<uri>', 'the destination: tcp:HOST:PORT, unix:PATH, exec:COMMAND, fd:N, file:PATH')
    .addOption(new Option('--uuid <uuid>', 'send the guest under this UUID').argParser(parseUuidOption))
    .option('--machine <type>', 'the machine type, of a stream that does not say it (types up to 2.3)')
    .addOption(
      new Option(
        '--mem-path <block=file>',
        'with x-ignore-shared: a file that the destination has as this RAM block; the content goes there',
      ).argParser(parseMemPath),
    )
    .addHelpText('after', EXAMPLES)
    .action((file: string, uri: string, flags: SendFlags) => run(file, uri, flags, context));
  addMigrationFlags(command, {
    sides: ['source'],
    without: {
      xbzrle: FOR_WRITING_GUESTS,
      'auto-converge': FOR_VCPUS,
      'dirty-limit': FOR_VCPUS,
      'background-snapshot': FOR_RUNNING_GUESTS,
      'switchover-ack': FOR_MOVING_GUESTS,
    },
  });
  return command;
}

async function run(file: string, uri: string, flags: SendFlags, { output, signal }: Context): Promise<void> {
  // Whoever names a UUID wants it to be compared.
  const options = { ...(flags.uuid && { validateUuid: true }), ...toMigrateOptions(flags, false) };
  checkTarget(uri, options);
  if (flags.memPath !== undefined && !options.ignoreShared) {
    throw new MigrationError('bad-option', '--mem-path needs --capability x-ignore-shared');
  }
  const onProgress = showFileProgress(output, 'reading', file);
  // The threads start while the file is read.
  const engine = prepareEngine({ ...options, direction: 'outgoing' });
  const capture = await prepareCapture(file, flags, { signal, onProgress }).catch(async (error) => {
    await engine.close();
    throw error;
  });
  const goOn = new GoOn(output);
  const migration = migrate(new CapturedMachine(capture, { uuid: flags.uuid }), uri, {
    ...options,
    engine,
    signal,
    progressIntervalMs: progressIntervalMs(output),
    onEvent: (event) => goOn.take(event, migration),
  });
  const shown = followProgress(migration.progress, output);
  const [result] = await Promise.all([migration.result, shown]).finally(() => goOn.close());
  for (const warning of result.warnings) output.note(`warning: ${warning}`);
  output.event('result', result);
  // The one thread that writes a mapped-ram file without multifd is no channel.
  const shownResult = options.multifd ? result : { ...result, channels: [] };
  for (const line of migrationSummary(shownResult)) output.result(line);
}

/** Loads the capture; blocks that the destination has as files go there, not on the wire. */
async function prepareCapture(
  file: string,
  { machine, memPath = {} }: SendFlags,
  options: LoadCaptureOptions,
): Promise<Capture> {
  await useHugePages();
  const capture = await loadCapture(file, { ...options, machine });
  return { ...capture, memory: await shareBlocks(capture.memory, memPath) };
}

/** What cannot be is told before the capture is read, which may take long. */
function checkTarget(uri: string, options: MigrateOptions): void {
  const { mappedRam } = resolveMigrateOptions(options);
  if (mappedRam && parseUri(uri).transport !== 'file') {
    throw new MigrationError('bad-option', '--capability mapped-ram needs a file', {
      found: uri,
      expected: 'file:PATH',
    });
  }
}
