import assert from 'node:assert/strict';
import test from 'node:test';
import { Interrupt } from './interrupt.ts';

function interrupt(): { it: Interrupt; exits: number[] } {
  const exits: number[] = [];
  return { it: new Interrupt((exitCode) => exits.push(exitCode)), exits };
}

test('the first signal cancels and decides the exit code', () => {
  const { it, exits } = interrupt();
  assert.equal(it.exitCode, undefined);
  it.deliver('SIGINT', 0);
  assert.equal(it.signal.aborted, true);
  assert.equal(it.exitCode, 130);
  assert.deepEqual(exits, []);
});

test('a second Ctrl-C ends the process, the same one delivered twice does not', () => {
  const { it, exits } = interrupt();
  it.deliver('SIGINT', 1000);
  it.deliver('SIGINT', 1005);
  assert.deepEqual(exits, []);
  it.deliver('SIGINT', 2000);
  assert.deepEqual(exits, [130]);
});

test('SIGTERM and SIGHUP have exit codes of their own', () => {
  const terminated = interrupt().it;
  terminated.deliver('SIGTERM', 0);
  assert.equal(terminated.exitCode, 143);
  const hungUp = interrupt().it;
  hungUp.deliver('SIGHUP', 0);
  assert.equal(hungUp.exitCode, 129);
});
