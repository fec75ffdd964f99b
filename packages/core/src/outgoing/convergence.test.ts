import assert from 'node:assert/strict';
import test from 'node:test';
import { Convergence } from './convergence.ts';

const MIB = 2 ** 20;

/** Passes of a guest with a dirty rate, until it does not pay; what is left at the end, in MiB. */
function converge(dirtyMibPerMs: number, rateMibPerMs: number, firstMib: number) {
  let now = 0;
  const convergence = new Convergence(() => now);
  let left = firstMib;
  let dirtied = 0;
  for (let passes = 0; ; passes++) {
    if (!convergence.paysToGoOn(dirtied * MIB, left * MIB, rateMibPerMs * MIB, true)) return { left, passes };
    const tookMs = left / rateMibPerMs;
    now += tookMs;
    dirtied = dirtyMibPerMs * tookMs;
    left = dirtied;
  }
}

test('an idle guest is stopped when nothing is left', () => {
  assert.deepEqual(converge(0, 1, 300), { left: 0, passes: 1 });
});

test('a guest that writes slowly is stopped after a few passes that each leave less', () => {
  const { left, passes } = converge(0.1, 1, 300);
  assert.ok(left < 0.31 && passes <= 4, `${left} MiB after ${passes}`);
});

test('a guest that writes half as fast as it is sent, or faster, is stopped when it can be', () => {
  const { passes } = converge(0.6, 1, 300);
  // The first sync has nothing to judge by.
  assert.equal(passes, 1);
});

test('further passes are few, whatever the guest does', () => {
  const convergence = new Convergence(() => 0);
  let further = 0;
  while (convergence.paysToGoOn(0, 100 * MIB, 1000, true)) further++;
  assert.equal(further, 8);
});

test('passes before the guest could be stopped do not count', () => {
  const convergence = new Convergence(() => 0);
  for (let i = 0; i < 100; i++) assert.ok(convergence.paysToGoOn(0, 100 * MIB, 1000, false));
  assert.ok(convergence.paysToGoOn(0, 100 * MIB, 1000, true));
});

test('without a known rate nothing is expected of going on', () => {
  assert.equal(new Convergence().paysToGoOn(1, 100 * MIB, 0, true), false);
});
