import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { findOldNode } from './lib/old-node.ts';

/**
 * The packages as others get them: packed, installed in an empty folder, and run from their `dist`. Takes a
 * build and an installation, so it only runs when PAGEFERRY_PACKAGE_TEST=1 asks for it.
 */

const repository = fileURLToPath(new URL('..', import.meta.url));
const skip = process.env.PAGEFERRY_PACKAGE_TEST === '1' ? false : 'PAGEFERRY_PACKAGE_TEST=1 turns it on';
const oldNode = findOldNode();
const TIME_LIMIT_MS = 180_000;

/** npm, run by this Node rather than by whatever is installed on the machine. */
async function npm(cwd: string, ...args: string[]): Promise<string> {
  const PATH = `${dirname(process.execPath)}:${process.env.PATH}`;
  const { stdout } = await promisify(execFile)('npm', args, { cwd, env: { ...process.env, PATH } });
  return stdout;
}

async function run(node: string, cwd: string, args: string[]) {
  const env = { ...process.env, NODE_OPTIONS: '' };
  const child = spawn(node, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { code, stdout, stderr };
}

test('the packed packages migrate a guest from their dist', { skip, timeout: TIME_LIMIT_MS }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pageferry-package-'));
  t.after(() => rmSync(folder, { recursive: true }));
  await npm(repository, 'run', 'build');
  const workspaces = ['core', 'workers', 'cli'].map((name) => `--workspace=packages/${name}`);
  const packed = JSON.parse(
    await npm(repository, 'pack', '--json', ...workspaces, '--pack-destination', folder),
  );

  await t.test('the tarballs hold what runs, and nothing else', () => {
    const files: string[] = packed.flatMap((tarball: { name: string; files: { path: string }[] }) =>
      tarball.files.map((file) => `${tarball.name}/${file.path}`),
    );
    assert.ok(files.includes('pageferry/bin/pageferry.js'));
    assert.ok(files.includes('pageferry/dist/main.js'));
    assert.deepEqual(
      files.filter((file) => /\.test\.|\/src\/|\.tsbuildinfo$/.test(file)),
      [],
    );
  });

  const tarballs = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
  assert.equal(tarballs.length, 3);
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  await npm(
    folder,
    'install',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    ...tarballs.map((name) => `./${name}`),
  );
  const command = join('node_modules', 'pageferry', 'bin', 'pageferry.js');

  await t.test('the command migrates the built-in machine', async () => {
    const { code, stdout, stderr } = await run(process.execPath, folder, [
      command,
      'demo',
      '--memory=64M',
      '--json',
    ]);
    assert.equal(code, 0, stderr);
    const last = JSON.parse(stdout.trimEnd().split('\n').at(-1)!);
    assert.equal(last.event, 'result');
    assert.equal(last.status, 'completed');
    assert.equal(last.verified, true);
  });

  await t.test('the library can be imported', async () => {
    const script = "import('pageferry').then((library) => console.log(Object.keys(library).sort().join()))";
    const { code, stdout, stderr } = await run(process.execPath, folder, ['-e', script]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /\bmigrate,openNetworkBackend,prepareEngine,receive\b/);
  });

  const noOldNode = oldNode === undefined ? 'no Node older than 24 on this machine' : false;
  await t.test('an old Node is told what is needed', { skip: noOldNode }, async () => {
    const { code, stderr } = await run(oldNode!, folder, [command, 'demo']);
    assert.equal(code, 2);
    assert.match(stderr, /^pageferry: Node 24\.20 or newer is needed, this is Node /);
  });
});
