import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { lastEvent, runCli } from './lib/cli.ts';

/** That the command as it is started by a person gets as far as its program (whose tests lie beside it). */

const { version } = JSON.parse(
  readFileSync(new URL('../packages/cli/package.json', import.meta.url), 'utf8'),
);

test('pageferry --version and --help', async () => {
  assert.deepEqual(await runCli('--version'), { code: 0, stdout: `${version}\n`, stderr: '' });
  const { code, stdout } = await runCli('--help');
  assert.equal(code, 0);
  assert.match(stdout, /^Usage: pageferry /);
});

test('what the library refuses as an option is a usage error', async () => {
  const result = await runCli('demo', '--memory', '1', '--json');
  assert.equal(result.code, 2);
  assert.match(result.stderr, /pageferry: option memoryBytes .*\n$/);
  assert.equal((lastEvent(result).error as { code: string }).code, 'bad-option');
});

test('receive tells a file that cannot be written before it listens', async () => {
  const result = await runCli('receive', 'tcp:127.0.0.1:0', '--out', '/nonexistent/vm.img', '--json');
  assert.equal(result.code, 1);
  assert.equal(result.stdout.trim().split('\n').length, 1);
  assert.equal((lastEvent(result).error as { code: string }).code, 'file-failed');
});
