import assert from 'node:assert/strict';
import test from 'node:test';
import { Interrupt } from './interrupt.ts';
import { runProgram } from './program.ts';

async function run(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  let stdout = '';
  let stderr = '';
  const exitCode = await runProgram(
    args,
    {
      stdout: { write: (text) => (stdout += text) },
      stderr: { write: (text) => (stderr += text) },
      version: '1.2.3',
    },
    new Interrupt(() => assert.fail('no signal came')),
  );
  return { exitCode, stdout, stderr };
}

const COMMANDS = ['demo', 'receive', 'send', 'serve', 'inspect', 'extract', 'bench'];

test('--version and --help', async () => {
  assert.deepEqual(await run('--version'), { exitCode: 0, stdout: '1.2.3\n', stderr: '' });
  const { exitCode, stdout } = await run('--help');
  assert.equal(exitCode, 0);
  for (const word of [...COMMANDS, 'Exit codes', '--json']) assert.ok(stdout.includes(word), word);
});

test('every command has a help with examples and --json that fits a terminal', async () => {
  for (const command of COMMANDS) {
    const { exitCode, stdout } = await run(command, '--help');
    assert.equal(exitCode, 0);
    assert.match(stdout, /Examples?:\n {2}pageferry/);
    assert.match(stdout, /--json/);
    assert.deepEqual(
      stdout.split('\n').filter((line) => line.length > 80),
      [],
    );
  }
});

test('without a command the help goes to stderr, with the exit code of a usage error', async () => {
  const { exitCode, stdout, stderr } = await run();
  assert.equal(exitCode, 2);
  assert.equal(stdout, '');
  assert.match(stderr, /Usage: pageferry/);
});

const receive = ['receive', 'tcp:127.0.0.1:0'];
const serve = ['serve', '--qmp', 'tcp:127.0.0.1:0'];
const refused: [RegExp, ...string[]][] = [
  [/--qmp/, 'serve'],
  [/unix:PATH or tcp:HOST:PORT/, 'serve', '--qmp', 'exec:cat'],
  [/there is no guest/, ...serve],
  [/builtin/, ...serve, '--guest', 'qemu'],
  [/not foo=1/, ...serve, '--guest', 'builtin,foo=1'],
  [/not known/, ...serve, '--qemu-version', '4.2'],
  [/cannot be used with/, ...serve, '--guest', 'builtin', '--image', 'x'],
  [/dirtyRate.*size=/, ...serve, '--incoming', 'defer', '--guest', 'builtin,dirty-rate=1M'],
  [/unknown command 'migrate'/, 'migrate'],
  [/unknown option '--memroy'.*--memory/, 'demo', '--memroy', '64M'],
  [/--memory.*A size is/, 'demo', '--memory', 'lots'],
  [/--multifd-channels.*1 to 255/, 'demo', '--multifd-channels', '0'],
  [/Allowed choices are none, zlib, zstd, lz4, adaptive/, 'demo', '--multifd-compression', 'gzip'],
  [/postcopy-ram is not supported/, 'demo', '--capability', 'postcopy-ram'],
  [/mapped-ram needs a file.*file:PATH/, 'send', 'x', 'tcp:a:1', '--capability', 'mapped-ram'],
  [/mapped-ram belongs to files/, ...receive, '--out', '/x', '--capability', 'mapped-ram'],
  [
    /mapped-ram does not go with compression/,
    ...['send', 'x', 'file:y', '--capability', 'mapped-ram', '--multifd-compression', 'zstd'],
  ],
  [/return-path is decided by the source/, ...receive, '--out', '/x', '--capability', 'return-path'],
  [/contradicts/, 'demo', '--capability', 'multifd=off', '--multifd-channels', '2'],
  [/on or off/, ...receive.toSpliced(1, 0, '--multifd-flush-after-each-section'), '--out', '/x'],
  [/missing required argument 'uri'/, 'receive', '--out', '/x'],
  [/--out <file>' not specified/, ...receive],
  [/unknown option '--connect-timeout'/, ...receive, '--out', '/x', '--connect-timeout', '1'],
  [/unknown option '--max-bandwidth'/, ...receive, '--out', '/x', '--max-bandwidth', '1'],
  [/too many arguments/, 'inspect', 'a', 'b'],
];

for (const [pattern, ...args] of refused) {
  test(`a usage error of one line: pageferry ${args.join(' ')}`, async () => {
    const { exitCode, stdout, stderr } = await run(...args);
    assert.equal(exitCode, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /^pageferry: .*\n$/);
    assert.match(stderr, pattern);
  });
}

test('with --json a usage error is a line on stdout too', async () => {
  const { exitCode, stdout, stderr } = await run('demo', '--memory', 'lots', '--json');
  assert.equal(exitCode, 2);
  assert.match(stderr, /^pageferry: /);
  const { event, error } = JSON.parse(stdout);
  assert.equal(event, 'error');
  assert.equal(error.code, 'bad-option');
});
