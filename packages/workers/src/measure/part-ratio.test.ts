import assert from 'node:assert/strict';
import test from 'node:test';
import { RatioJudge } from './part-ratio.ts';

/** Four packets of 10 pages; the first two get ten times smaller, the others not at all. */
const packets = Uint32Array.of(0, 10, 10, 10, 20, 10, 30, 10);
const whole = { packets: [2, 0, 1, 3], payloadBytes: [40_960, 4096, 4096, 40_960] };

test('the ratio of all packets is what it is', () => {
  const judge = new RatioJudge(packets);
  assert.equal(judge.ratio(whole), 163_840 / 90_112);
  judge.offer(whole);
  assert.equal(judge.ratio(whole), 163_840 / 90_112);
  assert.equal(judge.ratio({ packets: [0, 1, 2, 3], payloadBytes: [1024, 1024, 1024, 1024] }), 40);
});

test('the ratio of the easy beginning is taken down to that of all', () => {
  const judge = new RatioJudge(packets);
  const beginning = { packets: [0, 1], payloadBytes: [2048, 2048] };
  // Nothing is known of the others yet; and a part is no measure.
  judge.offer({ packets: [0, 1], payloadBytes: [1, 1] });
  assert.equal(judge.ratio(beginning), 20);
  judge.offer(whole);
  // Twice as good as the measure on the same packets: twice as good on all.
  assert.ok(Math.abs(judge.ratio(beginning) - (2 * 163_840) / 90_112) < 1e-9);
  // The first whole one stays the measure.
  judge.offer({ packets: [0, 1, 2, 3], payloadBytes: [9, 9, 9, 9] });
  assert.ok(Math.abs(judge.ratio(beginning) - (2 * 163_840) / 90_112) < 1e-9);
});
