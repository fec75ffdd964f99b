import assert from 'node:assert/strict';
import test from 'node:test';
import type { Forecast } from './forecast.ts';
import { type Candidate, recommend } from './recommend.ts';

function candidate(
  totalTimeMs: number,
  cpuSeconds: number,
  more: Partial<Forecast & Candidate> = {},
): Candidate {
  const { threads = 1, ...changes } = more;
  const forecast: Forecast = {
    totalTimeMs,
    downtimeMs: 200,
    passes: 3,
    converges: true,
    transferredBytes: 1,
    limitedBy: 'link',
    ...changes,
  };
  return { forecast, cpuSeconds, threads };
}

test('the fastest one', () => {
  assert.deepEqual(recommend([candidate(5000, 1), candidate(2000, 9), candidate(3000, 1)]), {
    index: 1,
    why: 'fastest',
  });
});

test('of those that are as fast, the one with the least CPU time, then the fewest threads', () => {
  const all = [candidate(2000, 9), candidate(2090, 4), candidate(2200, 1)];
  assert.deepEqual(recommend(all), { index: 1, why: 'cheapest' });
  const threads = [candidate(2000, 4, { threads: 4 }), candidate(2001, 4.1, { threads: 2 })];
  assert.deepEqual(recommend(threads), { index: 1, why: 'cheapest' });
});

test('one that does not converge is no choice while another does', () => {
  const all = [candidate(1000, 1, { converges: false }), candidate(9000, 5)];
  assert.deepEqual(recommend(all), { index: 1, why: 'only' });
});

test('when none converges, the shortest stop', () => {
  const never = { converges: false };
  const all = [
    candidate(1000, 1, { ...never, downtimeMs: 900 }),
    candidate(5000, 1, { ...never, downtimeMs: 700 }),
  ];
  assert.deepEqual(recommend(all), { index: 1, why: 'least-downtime' });
});

test('nothing to choose from, and a choice of one', () => {
  assert.equal(recommend([]), undefined);
  assert.deepEqual(recommend([candidate(1, 1)]), { index: 0, why: 'fastest' });
});
