import type { Command } from 'commander';
import { addBenchFlags, type BenchFlags, checkBenchFlags } from '../bench/bench-flags.ts';
import type { Context } from '../context.ts';

const EXAMPLES = `
Compresses and decompresses pages as a migration does (zero pages apart, a flush
at the end of each packet, a state per channel), each channel in a thread. Sizes
are binary, link speeds decimal.

Examples:
  pageferry bench --quick
  pageferry bench vm.img --html report.html
      a capture; raw images and ELF core dumps are read too
  pageferry bench vm.img --link 10G,25G --dirty-rate 200M --working-set 4G
  pageferry bench vm.img --codec zstd --level 1,3,6,9 --threads 4 --csv zstd.csv
`;

/** `pageferry bench`: what compression costs on a guest's own memory, and what it would do for a migration. */
export function defineBench(program: Command, context: Context): Command {
  const command = program
    .command('bench')
    .description("measure compression on a guest's memory and predict migrations")
    .argument('[input]', 'a capture, a raw image of memory or an ELF core dump (default: a generated mix)')
    .addHelpText('after', EXAMPLES)
    .action((input: string | undefined, flags: BenchFlags) => run(input, flags, context));
  addBenchFlags(command);
  return command;
}

async function run(input: string | undefined, flags: BenchFlags, context: Context): Promise<void> {
  const { output, signal } = context;
  checkBenchFlags(flags, input, output.json);
  // Loaded only here: the other commands need none of it.
  const [{ runBench }, { benchText }, { benchCsv }, { renderBenchHtml }, { ReportFiles }] = await Promise.all(
    [
      import('../bench/run-bench.ts'),
      import('../bench/bench-text.ts'),
      import('../bench/csv.ts'),
      import('../bench/html/index.ts'),
      import('../bench/report-file.ts'),
    ],
  );
  await using files = new ReportFiles();
  if (flags.csv !== undefined && flags.csv !== '-') await files.add(flags.csv, benchCsv);
  if (flags.html !== undefined) await files.add(flags.html, renderBenchHtml);
  const report = await runBench(input, flags, context);
  output.event('report', { report });
  if (flags.csv === '-') {
    output.note(benchText(report));
    output.result(benchCsv(report).trimEnd());
  } else if (!output.json) output.result(benchText(report));
  for (const path of await files.write(report, signal)) output.note(`written: ${path}`);
}
