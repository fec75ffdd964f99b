import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { announceFrame, parseMac } from '@pageferry/core/guest';
import { FrameCatcher } from './lib/frame-catcher.ts';
import { listen } from './lib/migration-phases.ts';
import { Served } from './lib/served.ts';

/** The NIC of a served machine announces it: after a migration, and when QMP asks for it. */

const MAC = '52:54:00:00:00:2a';

test('announce-* of the destination, then announce-self there', { timeout: 60_000 }, async () => {
  await using here = await FrameCatcher.open();
  await using there = await FrameCatcher.open();
  const nic = `mac=${MAC},network=udp:127.0.0.1:${here.port}`;
  await using source = await Served.start('--guest', `builtin,size=16M,${nic}`);
  const awaited = `builtin,network=udp:127.0.0.1:${there.port}`;
  await using target = await Served.start('--guest', awaited, '--incoming', 'defer');
  const destination = target.qmp;
  await destination.execute('migrate-set-parameters', { 'announce-rounds': 3, 'announce-initial': 10 });
  await source.qmp.execute('migrate', { uri: await listen(destination) });
  await destination.waitForEvent('RESUME');
  await there.caught(3);

  const timing = { initial: 5, max: 5, step: 5 };
  await destination.execute('announce-self', { ...timing, rounds: 2, interfaces: ['net0'], id: 'a' });
  await there.caught(5);
  await destination.execute('announce-self', { ...timing, rounds: 2, interfaces: ['other'] });
  await delay(100);
  const expected = Buffer.from(announceFrame(parseMac(MAC)));
  assert.deepEqual(
    there.frames.map(({ bytes }) => bytes),
    Array(5).fill(expected),
  );
  assert.deepEqual(here.frames, []);
  await source.qmp.execute('announce-self', { ...timing, rounds: 1 });
  await here.caught(1);
  await assert.rejects(destination.execute('announce-self', { ...timing, rounds: -1 }), /rounds/);
});
