import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Cli, type CliEvent, jsonLines, lastEvent, runCli } from './lib/cli.ts';

/** A guest that dirties its memory faster than the link carries it: only a throttled one ever moves. */

const guest = ['--memory', '64M', '--vcpus', '2', '--dirty-rate', '60M', '--content', 'text'];
const demo = ['demo', '--json', ...guest, '--max-bandwidth', '20M'];
/** Fewer steps than QEMU's defaults take. */
const steps = ['--cpu-throttle-initial', '40', '--cpu-throttle-increment', '25'];

interface Report extends CliEvent {
  status: string;
  ram: Record<string, number>;
  cpuThrottlePercentage?: number;
  dirtyLimitThrottleTimePerRoundUs?: number;
  dirtyLimitRingFullTimeUs?: number;
}

const reports = (stdout: string) =>
  jsonLines(stdout).filter(({ event }) => event === 'progress') as unknown as Report[];

test('without throttling it goes on for ever', { timeout: 60_000 }, async (t) => {
  const cli = new Cli(demo, t);
  const pass = (number: number) => (event: CliEvent) =>
    (event.ram as Record<string, number>)['dirty-sync-count']! >= number;
  await cli.event('progress', pass(5));
  await delay(500);
  cli.signal('SIGINT');
  const { code, stdout } = await cli.finished();
  assert.equal(code, 130);
  const seen = reports(stdout);
  // What is left at the beginning of a pass does not get less.
  const firstOfPass = (number: number) => seen.find(({ ram }) => ram['dirty-sync-count'] === number)!;
  for (const number of [3, 4, 5]) {
    const left = firstOfPass(number).ram.remaining!;
    assert.ok(left > 25 * 2 ** 20, `pass ${number} begins with ${left} bytes`);
  }
  assert.ok(seen.every(({ cpuThrottlePercentage }) => cpuThrottlePercentage === undefined));
});

test('with auto-converge it ends, and tells each step', { timeout: 120_000 }, async () => {
  const result = await runCli(...demo, '--capability', 'auto-converge', ...steps);
  assert.equal(result.code, 0, result.stderr);
  const { status, verified, ram } = lastEvent(result) as unknown as Report;
  assert.deepEqual([status, verified], ['completed', true]);
  const seen = reports(result.stdout).map(({ cpuThrottlePercentage }) => cpuThrottlePercentage);
  const told = seen.filter((percentage, i) => percentage !== undefined && percentage !== seen[i - 1]);
  assert.deepEqual(told, [40, 65, 90, 99].slice(0, told.length));
  assert.ok(told.length >= 2, `steps: ${told}`);
  assert.ok(ram['dirty-sync-count']! >= 5);
});

test('with dirty-limit it ends, and tells for how long its vCPUs stand still', {
  timeout: 120_000,
}, async () => {
  const limit = ['--capability', 'dirty-limit', '--vcpu-dirty-limit', '4'];
  const result = await runCli(...demo, ...limit);
  assert.equal(result.code, 0, result.stderr);
  assert.equal(lastEvent(result).verified, true);
  const limited = reports(result.stdout).filter((report) => report.dirtyLimitRingFullTimeUs !== undefined);
  assert.ok(limited.length > 0);
  assert.ok(
    limited.some(({ dirtyLimitThrottleTimePerRoundUs }) => dirtyLimitThrottleTimePerRoundUs! > 100_000),
  );
  assert.ok(reports(result.stdout).every((report) => report.cpuThrottlePercentage === undefined));
});

test('both at once are refused by name', async () => {
  const result = await runCli(...demo, '--capability', 'auto-converge', '--capability', 'dirty-limit');
  assert.equal(result.code, 2);
  assert.match(result.stderr, /dirty-limit/);
});
