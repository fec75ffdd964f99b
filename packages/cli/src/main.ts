import { readFileSync } from 'node:fs';
import { Interrupt } from './interrupt.ts';
import { runProgram } from './program.ts';

/** The entry of the `pageferry` command. */

/**
 * How long threads and sockets may take to end after the last word, in ms; then the process ends without them.
 * After Ctrl-C nobody wants to wait.
 */
const LINGER_MS = { done: 3000, interrupted: 100 } as const;

for (const stream of [process.stdout, process.stderr]) {
  // A reader that went away (`| head`) is no reason to leave a guest half-way.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

const interrupt = new Interrupt((exitCode) => process.exit(exitCode));
interrupt.listen();
const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const { stdout, stderr } = process;
process.exitCode = await runProgram(
  process.argv.slice(2),
  { stdout, stderr, version: manifest.version },
  interrupt,
);
setTimeout(
  () => process.exit(),
  LINGER_MS[interrupt.exitCode === undefined ? 'done' : 'interrupted'],
).unref();
