import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { announceFrame, parseMac } from '@pageferry/core/guest';
import { openNetworkBackend } from './open-network.ts';

const frame = announceFrame(parseMac('52:54:00:12:34:56'));

for (const host of ['127.0.0.1', '[::1]']) {
  test(`udp: on ${host}: a datagram is a frame`, async () => {
    const socket = createSocket(host === '[::1]' ? 'udp6' : 'udp4');
    socket.bind(0, host === '[::1]' ? '::1' : '127.0.0.1');
    await once(socket, 'listening');
    const backend = await openNetworkBackend(`udp:${host}:${socket.address().port}`);
    const received = once(socket, 'message');
    backend.send(frame);
    const [message] = await received;
    assert.deepEqual(message, Buffer.from(frame));
    await backend.close();
    // Nothing goes out any more, and nothing is thrown.
    backend.send(frame);
    await backend.close();
    socket.close();
  });
}

test('a peer that is not there does not matter', async () => {
  const backend = await openNetworkBackend('udp:127.0.0.1:9');
  for (let i = 0; i < 5; i++) {
    backend.send(frame);
    await delay(5);
  }
  await backend.close();
});

for (const text of [
  '',
  'udp',
  'udp:host',
  'udp::1',
  'udp:h:0',
  'udp:h:65536',
  'udp:[h]:1',
  'tap:',
  'vde:x',
]) {
  test(`'${text}' is no back end`, async () => {
    await assert.rejects(openNetworkBackend(text), { code: 'bad-option' });
  });
}

test('a host that does not exist', async () => {
  await assert.rejects(openNetworkBackend('udp:does-not-exist.invalid:1'), {
    code: 'bad-option',
    message: /udp:does-not-exist\.invalid:1/,
  });
});

test('tap: a frame is sent by the device, or its refusal says why', async (t) => {
  const name = `pft${process.pid}`;
  const opened = await openNetworkBackend(`tap:${name}`).catch((error) => error);
  if (opened instanceof Error) {
    assert.match(opened.message, /tap devices? .*tap:pft/);
    t.skip(opened.message);
    return;
  }
  const counter = (file: string) => Number(readFileSync(`/sys/class/net/${name}/statistics/${file}`, 'utf8'));
  const before = counter('rx_bytes');
  opened.send(frame);
  assert.equal(counter('rx_bytes') - before, 60);
  await opened.close();
  assert.ok(!existsSync(`/sys/class/net/${name}`));
});

test('tap: what the kernel refuses is told by name', async (t) => {
  const opened = await openNetworkBackend('tap:lo').catch((error) => error);
  assert.ok(opened instanceof Error);
  assert.match(opened.message, /tap:lo/);
  t.diagnostic(opened.message);
});
