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
