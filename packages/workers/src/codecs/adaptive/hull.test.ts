import assert from 'node:assert/strict';
import test from 'node:test';
import { CodecEstimates, type CodecPrior, RAW } from './estimates.ts';
import { bestMixture, CodecHull } from './hull.ts';

const PACKET = 512 * 1024;
/** ms per packet and the part that is left: the third is slower than the fourth and leaves more. */
const CODECS = [
  [0, 1],
  [1.1, 0.6],
  [3.5, 0.45],
  [2, 0.44],
  [12, 0.4],
] as const;
const PRIORS: CodecPrior[] = CODECS.map(([ms, wire]) => ({ msPerByte: ms / PACKET, depth: -Math.log(wire) }));

function hullOf(priors: readonly CodecPrior[]): [CodecHull, CodecEstimates] {
  const estimates = new CodecEstimates(priors);
  const hull = new CodecHull();
  hull.update(estimates);
  return [hull, estimates];
}

function cheapest(estimates: CodecEstimates, price: number): number {
  let best = RAW;
  for (let codec = 1; codec < estimates.count; codec++)
    if (estimates.cost(codec, 1, price) < estimates.cost(best, 1, price)) best = codec;
  return best;
}

test('at the position of a codec it is the cheapest, and never one that is worse than another in both', () => {
  const [hull, estimates] = hullOf(PRIORS);
  for (const codec of [0, 1, 3, 4]) assert.equal(cheapest(estimates, hull.priceAt(codec)), codec);
  for (let position = -1; position < 6; position += 0.01)
    assert.notEqual(cheapest(estimates, hull.priceAt(position)), 2);
});

test('halfway between two codecs both cost the same, and the price grows all the way', () => {
  const [hull, estimates] = hullOf(PRIORS);
  for (const [a, b] of [
    [0, 1],
    [1, 3],
    [3, 4],
  ] as const) {
    const price = hull.priceAt((a + b) / 2);
    const [costA, costB] = [estimates.cost(a, 1, price), estimates.cost(b, 1, price)];
    assert.ok(Math.abs(costA / costB - 1) < 1e-9, `${a} ${b}`);
  }
  let before = 0;
  for (let position = -1; position < 6; position += 0.01) {
    const price = hull.priceAt(position);
    assert.ok(price > before);
    before = price;
  }
});

test('a machine that is half as fast has other prices at the same positions, and the same choice', () => {
  const [hull] = hullOf(PRIORS);
  const before = hull.priceAt(1);
  const [, estimates] = hullOf(PRIORS.map((prior) => ({ ...prior, msPerByte: 2 * prior.msPerByte })));
  hull.update(estimates);
  assert.ok(hull.priceAt(1) > 1.5 * before);
  for (const codec of [0, 1, 3, 4]) assert.equal(cheapest(estimates, hull.priceAt(codec)), codec);
});

test('the balance is where the slower of two codecs would keep the thread longer than the link', () => {
  const [hull, estimates] = hullOf(PRIORS);
  const linkOf = (codec: number) => estimates.wire(codec, 1) / estimates.threadMs(codec, 1);
  assert.equal(hull.balance(2 * linkOf(1), 1), 0.5);
  assert.equal(hull.balance(0.99 * linkOf(1), 1), 2);
  assert.equal(hull.balance(0.99 * linkOf(3), 1), 3.5);
  assert.equal(hull.balance(0.5 * linkOf(4), 1), 5, 'even the hardest leaves the thread idle');
  assert.equal(hull.balance(0.7 * linkOf(4), 1), 5);
  assert.equal(hull.balance(0.7 * linkOf(4), 0.5), 3.5, 'not where the thread may be used by half');
});

test('nothing to choose from: pages go as they are', () => {
  const [hull, estimates] = hullOf(PRIORS.slice(0, 1));
  assert.equal(hull.priceAt(3), 0);
  assert.equal(bestMixture(estimates, 1000, 1), 1);
});

test('what a mixture gains: nothing on a link that is faster than copying, more the slower it is', () => {
  const [, estimates] = hullOf(PRIORS);
  assert.equal(bestMixture(estimates, 1e9, 1), 1);
  let before = 1;
  for (const link of [400_000, 200_000, 100_000, 50_000]) {
    const part = bestMixture(estimates, link, 1);
    assert.ok(part < before, `${link}`);
    before = part;
  }
  assert.ok(Math.abs(bestMixture(estimates, 1, 1) - 0.4) < 0.01);
});
