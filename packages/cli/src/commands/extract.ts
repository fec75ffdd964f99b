import { extractBlock } from '@pageferry/core/capture';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { showFileProgress } from '../file-progress.ts';
import { formatBytes } from '../format.ts';

interface ExtractFlags {
  block: string;
  out: string;
}

const EXAMPLES = `
Example:
  pageferry extract vm.img --block pc.ram --out ram.raw
      pageferry inspect vm.img lists the blocks
`;

/** `pageferry extract`: a RAM block of a capture as raw bytes. */
export function defineExtract(program: Command, context: Context): Command {
  return program
    .command('extract')
    .description('write a RAM block of a captured guest as raw bytes')
    .argument('<file>', 'a capture: mapped-ram or plain stream')
    .requiredOption('--block <idstr>', 'the name of the RAM block, such as pc.ram')
    .requiredOption('--out <raw>', 'the file to write; it appears when it is whole')
    .addHelpText('after', EXAMPLES)
    .action((file: string, flags: ExtractFlags) => run(file, flags, context));
}

async function run(file: string, { block, out }: ExtractFlags, { output, signal }: Context): Promise<void> {
  const onProgress = showFileProgress(output, 'writing', out);
  const { bytes } = await extractBlock(file, block, out, { signal, onProgress });
  output.event('result', { file, block, out, bytes });
  output.result(`${out}: ${formatBytes(bytes)} of ${block}`);
}
