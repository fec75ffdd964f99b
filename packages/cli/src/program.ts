import { MigrationError } from '@pageferry/core';
import { Command, CommanderError } from 'commander';
import { defineBench } from './commands/bench.ts';
import { defineDemo } from './commands/demo.ts';
import { defineExtract } from './commands/extract.ts';
import { defineInspect } from './commands/inspect.ts';
import { defineReceive } from './commands/receive.ts';
import { defineSend } from './commands/send.ts';
import { defineServe } from './commands/serve.ts';
import type { Context } from './context.ts';
import type { Interrupt } from './interrupt.ts';
import { ExitCode, Output, type TextStream } from './output.ts';

const GENERAL_HELP = `
Every command takes --json: one JSON object per line on stdout, text for people
on stderr. Sizes take k, M, G and T (binary), times take ms, s and m.

Exit codes:
  0    done
  1    the migration, the file or the check failed
  2    the arguments make no sense
  130  cancelled by Ctrl-C (143 by SIGTERM, 129 by SIGHUP)

Examples:
  pageferry demo
      watch a running guest move
  pageferry receive tcp:0.0.0.0:4444 --out vm.img
      capture a QEMU's guest: migrate tcp:HOST:4444 in its monitor
  pageferry serve --qmp unix:qmp.sock --guest builtin
      a machine that a QMP client migrates
  pageferry inspect vm.img
      look inside, and learn which QEMU can load it
  pageferry send vm.img tcp:HOST:4444
      give it to a QEMU started with -incoming
  pageferry extract vm.img --block pc.ram --out ram.raw
      take a RAM block out
  pageferry bench vm.img
      which compression to migrate it with
`;

/**
 * Runs the command line.
 *
 * @param args the arguments after the program's name
 * @returns the exit code
 */
export async function runProgram(
  args: readonly string[],
  streams: { stdout: TextStream; stderr: TextStream; version: string },
  interrupt: Interrupt,
): Promise<number> {
  const end = args.indexOf('--');
  const json = (end < 0 ? args : args.slice(0, end)).includes('--json');
  const output = new Output(json, streams.stdout, streams.stderr);
  const program = new Command('pageferry')
    .description("Moves running virtual machines: a live-migration engine that speaks QEMU's protocol.")
    .version(streams.version)
    .helpCommand(false)
    // The flags are long: what they mean is wrapped into what 80 columns leave.
    .configureHelp({ minWidthToWrap: 30 })
    .exitOverride()
    .configureOutput({
      writeOut: (text) => streams.stdout.write(text),
      // Errors are reported below, in one way for all; what else comes here is the help without a command.
      writeErr: (text) => streams.stderr.write(text),
      outputError: () => {},
    })
    .addHelpText('after', GENERAL_HELP);
  const context: Context = { output, signal: interrupt.signal, version: streams.version };
  for (const define of [
    defineDemo,
    defineReceive,
    defineSend,
    defineServe,
    defineInspect,
    defineExtract,
    defineBench,
  ]) {
    define(program, context).option('--json', 'JSON lines on stdout, text for people on stderr');
  }
  try {
    await program.parseAsync([...args], { from: 'user' });
    return ExitCode.ok;
  } catch (error) {
    if (error instanceof CommanderError) return afterCommander(error, output);
    const exitCode = output.error(error);
    return interrupt.exitCode ?? exitCode;
  }
}

function afterCommander(error: CommanderError, output: Output): number {
  if (error.exitCode === 0) return ExitCode.ok;
  // Without any argument commander has printed the help.
  if (error.code === 'commander.help') return ExitCode.usage;
  return output.error(new MigrationError('bad-option', error.message.replace(/^error: /, '')));
}
