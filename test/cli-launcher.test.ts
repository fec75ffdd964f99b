import assert from 'node:assert/strict';
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test, { after } from 'node:test';
import { findOldNode } from './lib/old-node.ts';

/**
 * bin/pageferry.js with a stand-in for the program behind it, so that what is seen is the launcher: which
 * Node it takes, and that signals, descriptors and exit codes pass through it.
 */

const launcher = new URL('../packages/cli/bin/pageferry.js', import.meta.url);
const interrupt = new URL('../packages/cli/src/interrupt.ts', import.meta.url);
const PROGRAM = `
import { readFileSync } from 'node:fs';
import { Interrupt } from ${JSON.stringify(interrupt.href)};
const type: string = 'stripped';
const args = process.argv.slice(2);
if (args.includes('wait')) {
  const cancel = new Interrupt((exitCode) => process.exit(exitCode));
  cancel.listen();
  const idle = setInterval(() => {}, 1000);
  cancel.signal.addEventListener('abort', () => {
    clearInterval(idle);
    process.exitCode = cancel.exitCode;
  });
}
console.log(JSON.stringify({ pid: process.pid, version: process.version, execArgv: process.execArgv, args, type }));
const descriptor = args.find((arg) => arg.startsWith('fd:'))?.slice(3);
if (args.includes('read')) console.log(readFileSync(Number(descriptor), 'utf8'));
const exit = args.find((arg) => arg.startsWith('exit='));
if (exit !== undefined) process.exitCode = Number(exit.slice(5));
`;

const folder = mkdtempSync(join(tmpdir(), 'pageferry-launcher-'));
after(() => rmSync(folder, { recursive: true }));
const oldNode = findOldNode();
const skip = oldNode === undefined ? 'no Node older than 24 on this machine' : false;

/** A package with the launcher and, in `kind`, the stand-in. */
function makePackage(name: string, kind: 'src' | 'dist' | 'none'): string {
  const root = join(folder, name, 'packages', 'cli');
  mkdirSync(join(root, 'bin'), { recursive: true });
  writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
  copyFileSync(launcher, join(root, 'bin', 'pageferry.js'));
  if (kind !== 'none') mkdirSync(join(root, kind));
  if (kind === 'src') writeFileSync(join(root, 'src', 'main.ts'), PROGRAM);
  if (kind === 'dist') writeFileSync(join(root, 'dist', 'main.js'), 'console.log(import.meta.filename);');
  return join(root, 'bin', 'pageferry.js');
}

function start(node: string, file: string, args: string[], options: SpawnOptions = {}): ChildProcess {
  const env = { ...process.env, NODE_OPTIONS: '' };
  return spawn(node, [file, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env, ...options });
}

async function finish(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout!),
    text(child.stderr!),
    once(child, 'close'),
  ]);
  return { code, stdout, stderr };
}

const run = (node: string, file: string, ...args: string[]) => finish(start(node, file, args));

/** The line that the stand-in begins with. */
async function firstLine(child: ChildProcess): Promise<{ pid: number }> {
  const [chunk] = await once(child.stdout!, 'data');
  return JSON.parse(String(chunk));
}

test('sources run under the export condition, with arguments and exit code passed through', async () => {
  const { code, stdout, stderr } = await run(
    process.execPath,
    makePackage('a', 'src'),
    'x',
    '--y=1',
    'exit=7',
  );
  assert.equal(stderr, '');
  assert.equal(code, 7);
  const seen = JSON.parse(stdout);
  assert.deepEqual(seen.args, ['x', '--y=1', 'exit=7']);
  assert.deepEqual(seen.execArgv, ['--conditions=pageferry-src']);
});

test('no second process when the condition is active already', async () => {
  const file = makePackage('b', 'src');
  const child = start(process.execPath, '--conditions=pageferry-src', [file]);
  const { code, stdout } = await finish(child);
  assert.equal(code, 0);
  assert.equal(JSON.parse(stdout).pid, child.pid);
});

test('an installed package runs dist', async () => {
  const { code, stdout } = await run(process.execPath, makePackage('c', 'dist'));
  assert.equal(code, 0);
  assert.match(stdout, /dist[/\\]main\.js$/m);
});

test('an incomplete installation says what is missing', async () => {
  const { code, stderr } = await run(process.execPath, makePackage('d', 'none'));
  assert.equal(code, 1);
  assert.match(stderr, /^pageferry: .*dist.main\.js is missing/);
});

test('Ctrl-C reaches the program, and its exit code comes back', async () => {
  const file = makePackage('e', 'src');
  for (const args of [['wait'], ['wait', 'fd:5']]) {
    const child = start(process.execPath, file, args);
    await firstLine(child);
    child.kill('SIGINT');
    assert.equal((await finish(child)).code, 130, args.join(' '));
  }
});

test('a descriptor named as fd:N reaches the program', async () => {
  const file = makePackage('f', 'src');
  const fd = openSync(file, 'r');
  try {
    const child = start(process.execPath, file, ['read', 'fd:5'], {
      stdio: ['ignore', 'pipe', 'pipe', 'ignore', 'ignore', fd],
    });
    const { code, stdout, stderr } = await finish(child);
    assert.equal(stderr, '');
    assert.equal(code, 0);
    assert.match(stdout, /#!\/usr\/bin\/env node/);
  } finally {
    closeSync(fd);
  }
});

test('no program is left behind when the launcher is killed', async () => {
  const child = start(process.execPath, makePackage('g', 'src'), ['wait', 'fd:5']);
  const { pid } = await firstLine(child);
  assert.notEqual(pid, child.pid);
  child.kill('SIGKILL');
  // The pipe closes when the last process that holds it has ended.
  await once(child, 'close', { signal: AbortSignal.timeout(5000) });
});

test('an old Node says what is needed', { skip }, async () => {
  for (const kind of ['src', 'dist'] as const) {
    const { code, stdout, stderr } = await run(oldNode!, makePackage(`h-${kind}`, kind), 'demo');
    assert.equal(code, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /^pageferry: Node 24\.20 or newer is needed, this is Node \d+\.\d+\.\d+ \(/);
    assert.match(stderr, /nodejs\.org/);
  }
});

test('an old Node takes the one that npm brought into the repository', { skip }, async () => {
  const file = makePackage('i', 'src');
  const bin = join(folder, 'i', 'node_modules', '.bin');
  mkdirSync(bin, { recursive: true });
  symlinkSync(process.execPath, join(bin, 'node'));
  const { code, stdout } = await run(oldNode!, file, 'exit=3');
  assert.equal(code, 3);
  assert.equal(JSON.parse(stdout).version, process.version);

  const waiting = start(oldNode!, file, ['wait']);
  await firstLine(waiting);
  waiting.kill('SIGTERM');
  assert.equal((await finish(waiting)).code, 143);
});
