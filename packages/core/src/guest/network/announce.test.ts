import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Announcer, announceFrame, announcePauseMs } from './announce.ts';
import { parseMac } from './mac.ts';

const DEFAULTS = { initialMs: 50, maxMs: 550, rounds: 5, stepMs: 100 };

test('a frame has its 60 bytes', () => {
  const frame = Buffer.from(announceFrame(parseMac('52:54:00:12:34:56')));
  const expected =
    'ffffffffffff' +
    '525400123456' +
    '8035' +
    '0001080006040003' +
    '52540012345600000000' +
    '52540012345600000000' +
    '00'.repeat(18);
  assert.equal(frame.toString('hex'), expected);
  assert.equal(frame.length, 60);
});

test('the pauses grow by the step up to the maximum', () => {
  const pauses = (parameters: typeof DEFAULTS) => {
    return Array.from({ length: 8 }, (_, index) => announcePauseMs(parameters, index + 1));
  };
  assert.deepEqual(pauses(DEFAULTS), [50, 150, 250, 350, 450, 550, 550, 550]);
  assert.deepEqual(pauses({ ...DEFAULTS, initialMs: 600 }), Array(8).fill(550));
  assert.deepEqual(
    pauses({ ...DEFAULTS, initialMs: 300, stepMs: -200 }),
    [300, 100, 550, 550, 550, 550, 550, 550],
  );
});

test('MAC addresses', () => {
  assert.deepEqual(parseMac('AA:00:ff:0b:c0:09'), Uint8Array.of(0xaa, 0, 255, 11, 192, 9));
  for (const text of ['', '52:54:00:12:34', '52-54-00-12-34-56', '5:54:00:12:34:56', '01:00:5e:00:00:01']) {
    assert.throws(() => parseMac(text), { code: 'bad-option' }, text);
  }
});

/** An announcer, and what it sent. */
function announcer(t: test.TestContext) {
  const sent: [atMs: number, interfaces: readonly string[] | undefined][] = [];
  const start = performance.now();
  const announces = new Announcer((interfaces) => sent.push([performance.now() - start, interfaces]));
  t.after(() => announces.close());
  return { announces, sent };
}

test('frames go at once and after each pause, never early', async (t) => {
  const { announces, sent } = announcer(t);
  announces.announce({ initialMs: 20, maxMs: 60, rounds: 5, stepMs: 30 });
  assert.equal(sent.length, 1);
  while (sent.length < 5) await delay(10);
  await delay(150);
  assert.equal(sent.length, 5);
  const pauses = sent.slice(1).map(([atMs], index) => atMs - sent[index]![0]);
  for (const [index, least] of [20, 50, 60, 60].entries()) {
    // A timer counts in whole ms.
    assert.ok(pauses[index]! > least - 1.5, `${pauses}`);
  }
});

test('no rounds, no frame', async (t) => {
  const { announces, sent } = announcer(t);
  announces.announce({ ...DEFAULTS, rounds: 0 });
  await delay(60);
  assert.deepEqual(sent, []);
});

test('the same id starts over, another one runs beside it, and 0 rounds end it', async (t) => {
  const { announces, sent } = announcer(t);
  const often = { initialMs: 10, maxMs: 10, rounds: 1000, stepMs: 1 };
  announces.announce(often, { id: 'a', interfaces: ['x'] });
  announces.announce({ ...often, rounds: 2 }, { id: 'a', interfaces: ['y'] });
  announces.announce({ ...often, rounds: 2 }, { interfaces: ['z'] });
  await delay(200);
  const by = (name: string) => sent.filter(([, interfaces]) => interfaces?.[0] === name).length;
  assert.deepEqual([by('x'), by('y'), by('z')], [1, 2, 2]);
  announces.announce(often, { id: 'a' });
  announces.announce({ ...often, rounds: 0 }, { id: 'a' });
  await delay(50);
  assert.equal(sent.length, 6);
});

test('numbers that cannot be are refused', (t) => {
  const { announces, sent } = announcer(t);
  for (const wrong of [{ rounds: -1 }, { rounds: 1.5 }, { initialMs: Number.NaN }]) {
    assert.throws(() => announces.announce({ ...DEFAULTS, ...wrong }), { code: 'bad-option' });
  }
  assert.deepEqual(sent, []);
});
