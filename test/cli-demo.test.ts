import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { announceFrame, parseMac } from '@pageferry/core/guest';
import { Cli, type CliEvent, jsonLines, lastEvent, runCli } from './lib/cli.ts';
import { FrameCatcher } from './lib/frame-catcher.ts';
import { childrenOf, endsWithin } from './lib/processes.ts';

/** `pageferry demo`: a running guest moves to a second process, whichever way its pages travel. */

/** What takes longer than this hangs. */
const options = { timeout: 60_000 };
const small = ['demo', '--memory', '64M', '--dirty-rate', '16M', '--json'];

interface DemoEvent extends CliEvent {
  totalTimeMs: number;
  downtimeMs: number;
  verifyMs: number;
  ram: Record<string, number>;
  channels: { bytes: number }[];
}

async function demo(...args: string[]): Promise<DemoEvent> {
  const result = await runCli(...small, ...args);
  assert.equal(result.code, 0, result.stderr);
  const last = lastEvent(result) as DemoEvent;
  assert.equal(last.event, 'result');
  assert.equal(last.status, 'completed');
  assert.equal(last.verified, true);
  assert.equal(last.ram.total! >= 64 * 2 ** 20, true);
  assert.ok(last.ram.transferred! > 0);
  assert.ok(last.downtimeMs >= 0 && last.downtimeMs < last.totalTimeMs);
  return last;
}

const ways: { args: string[]; channels: number }[] = [
  { args: [], channels: 2 },
  { args: ['--capability', 'multifd=off'], channels: 0 },
  { args: ['--multifd-compression', 'zlib', '--multifd-zlib-level', '3'], channels: 2 },
  { args: ['--multifd-compression', 'zstd', '--multifd-channels', '4'], channels: 4 },
  { args: ['--multifd-compression', 'lz4', '--multifd-channels', '1'], channels: 1 },
  { args: ['--multifd-compression', 'adaptive', '--max-bandwidth', '30M'], channels: 2 },
];

for (const { args, channels } of ways) {
  test(`the guest arrives whole: ${args.join(' ') || 'as it is'}`, options, async () => {
    const result = await demo(...args);
    assert.equal(result.channels.length, channels);
    assert.ok(result.verifyMs > 0);
    assert.equal(result.returnPath, true);
  });
}

test('the guest arrives whole with xbzrle, and the result tells of it', options, async () => {
  const way = ['--capability', 'xbzrle', '--workload', 'hot-cold', '--max-bandwidth', '30M'];
  const result = await demo(...way);
  assert.equal(result.channels.length, 0);
  const { pages, cacheSize } = result.xbzrleCache as Record<string, number>;
  assert.ok(pages! > 0);
  assert.equal(cacheSize, 64 * 2 ** 20);
});

test('without hashes and without return path the guest still checks itself', options, async () => {
  const way = ['--zero-page-detection', 'legacy', '--multifd-flush-after-each-section'];
  const result = await demo('--no-verify', '--capability', 'return-path=off', ...way);
  assert.equal(result.verifyMs, 0);
  assert.equal(result.returnPath, false);
});

test('a bandwidth limit is kept, and progress is told meanwhile', options, async () => {
  const result = await runCli(...small, '--memory', '32M', '--dirty-rate', '1M', '--max-bandwidth', '20M');
  assert.equal(result.code, 0, result.stderr);
  const progress = jsonLines(result.stdout).filter(({ event }) => event === 'progress');
  assert.ok(progress.length >= 3, `${progress.length} lines of progress`);
  const last = lastEvent(result) as DemoEvent;
  const rate = last.ram.transferred! / (last.totalTimeMs / 1000);
  assert.ok(rate < 26 * 2 ** 20, `${rate} bytes/s`);
});

test('people get a summary on stdout and progress on stderr', options, async () => {
  const { code, stdout, stderr } = await runCli('demo', '--memory', '32M');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^status +completed$/m);
  assert.match(stdout, /^downtime +\d/m);
  assert.match(stdout, /^verified +the guest is whole/m);
  assert.match(stdout, /^multifd 1 /m);
  assert.match(stderr, /^a guest with 32\.0 MiB/);
});

test('--snapshot writes the guest while it runs, and the second process loads it', options, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pageferry-demo-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'guest.img');
  const { ram, channels } = await demo('--snapshot', file);
  assert.deepEqual(channels, []);
  assert.equal(ram['dirty-sync-count'], 0);
  assert.equal(ram.normal! + ram.duplicate!, (64 * 2 ** 20 + 65536) / 4096);
  const inspected = await runCli('inspect', file, '--json');
  assert.equal(inspected.code, 0, inspected.stderr);
});

test('--network: the second process announces the guest', options, async () => {
  await using catcher = await FrameCatcher.open();
  const mac = '52:54:00:00:be:ef';
  const network = ['--network', `udp:127.0.0.1:${catcher.port}`, '--mac', mac];
  await demo(...network, '--announce-rounds', '2', '--announce-initial', '10');
  await catcher.caught(2);
  const expected = Buffer.from(announceFrame(parseMac(mac)));
  assert.deepEqual(
    catcher.frames.map(({ bytes }) => bytes),
    [expected, expected],
  );
});

for (const [wrong, words] of [
  [['--snapshot', 'never', '--multifd-channels', '2'], /background-snapshot does not go with multifd/],
  [['--mac', '52:54:00:00:be:ef'], /--mac needs --network/],
  [['--announce-rounds', '2'], /--announce-rounds needs --network/],
  [['--network', 'udp:1'], /udp:HOST:PORT/],
] as const) {
  test(`${wrong.join(' ')} is refused`, options, async () => {
    const { code, stderr } = await runCli('demo', '--memory', '16M', ...wrong);
    assert.notEqual(code, 0);
    assert.match(stderr, words);
  });
}

/** A demo that would take minutes, in the middle of its migration, with the destination's process. */
async function longDemo(t: { after(hook: () => void): void }): Promise<{ cli: Cli; destination: number }> {
  const cli = new Cli([...small, '--max-bandwidth', '1M'], t);
  await cli.event('progress', ({ status }) => status === 'active');
  const [destination, ...more] = childrenOf(cli.pid);
  assert.ok(destination !== undefined);
  assert.deepEqual(more, []);
  return { cli, destination };
}

test('Ctrl-C ends both processes within a second', options, async (t) => {
  const { cli, destination } = await longDemo(t);
  const before = performance.now();
  cli.signal('SIGINT');
  const result = await cli.finished();
  const tookMs = performance.now() - before;
  assert.equal(result.code, 130);
  assert.ok(tookMs < 1000, `took ${tookMs} ms`);
  const { event, error } = lastEvent(result);
  assert.equal(event, 'error');
  assert.equal((error as { code: string }).code, 'cancelled');
  assert.ok(await endsWithin(destination, 500), 'the destination is left behind');
});

test('Ctrl-C takes effect while the guest is still being made', options, async (t) => {
  const cli = new Cli(['demo', '--json'], t);
  await cli.told(/a guest with/);
  const before = performance.now();
  cli.signal('SIGINT');
  const { code } = await cli.finished();
  assert.equal(code, 130);
  assert.ok(performance.now() - before < 1000);
});

test('the destination ends when the source is killed', options, async (t) => {
  const { cli, destination } = await longDemo(t);
  cli.signal('SIGKILL');
  await cli.finished();
  assert.ok(await endsWithin(destination, 2000), 'the destination is left behind');
});

test('the source reports it when the destination is killed', options, async (t) => {
  const { cli, destination } = await longDemo(t);
  process.kill(destination, 'SIGKILL');
  const result = await cli.finished();
  assert.equal(result.code, 1);
  const { error } = lastEvent(result);
  assert.equal((error as { code: string }).code, 'destination-failed');
});
