import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { MigrationError } from '../error.ts';
import { folderWithoutLeftovers } from '../testing/leftovers.ts';
import { encodeMultifdHandshake } from '../wire/multifd.ts';
import { connect } from './connect.ts';
import { listen } from './listen.ts';
import type { AcceptedChannel, Listener } from './listener.ts';
import { parseUri } from './uri.ts';

const directory = folderWithoutLeftovers('listen');

async function listening(
  t: TestContext,
  uri = 'tcp:127.0.0.1:0',
  firstBytesTimeoutMs = 5000,
): Promise<Listener> {
  const listener = await listen(parseUri(uri), { backlog: 16, firstBytesTimeoutMs });
  t.after(() => listener.close());
  return listener;
}

/** A connection of a source that does what the test says. */
async function dial(t: TestContext, listener: Listener): Promise<net.Socket> {
  const address = parseUri(listener.address);
  assert.ok(address.transport === 'tcp' || address.transport === 'unix');
  const socket = net.connect(
    address.transport === 'tcp' ? { host: address.host, port: address.port } : address,
  );
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('connect', resolve));
  t.after(() => socket.destroy());
  return socket;
}

const UUID = Uint8Array.from({ length: 16 }, (_, i) => i + 1);

/** What `accept` gave, in short, with everything closed at the end of the test. */
function short(t: TestContext, accepted: AcceptedChannel): string {
  if (accepted.kind === 'rejected') return accepted.error.code;
  if (accepted.kind === 'main') {
    t.after(() => accepted.channel.destroy(new Error('test is over')));
    return 'main';
  }
  assert.deepEqual(accepted.uuid, UUID);
  t.after(() => accepted.connection.destroy());
  return `multifd ${accepted.channel}`;
}

async function acceptShort(t: TestContext, listener: Listener, count: number): Promise<string[]> {
  const result: string[] = [];
  for (let i = 0; i < count; i++) result.push(short(t, await listener.accept()));
  return result;
}

for (const uri of ['tcp:127.0.0.1:0', `unix:${directory}/order`]) {
  test(`${uri.slice(0, 4)} channels are told apart in any order, byte by byte, past a silent one`, async (t) => {
    const listener = await listening(t, uri);
    await dial(t, listener);
    const trickle = await dial(t, listener);
    const two = await dial(t, listener);
    const main = await dial(t, listener);
    const one = await dial(t, listener);

    const slow = (async () => {
      for (const byte of encodeMultifdHandshake({ channel: 0, uuid: UUID })) {
        trickle.write(Uint8Array.of(byte));
        await delay(2);
      }
    })();
    two.write(Buffer.concat([encodeMultifdHandshake({ channel: 2, uuid: UUID }), Buffer.from('packet')]));
    assert.deepEqual(await acceptShort(t, listener, 1), ['multifd 2']);
    main.write('QE');
    one.write(encodeMultifdHandshake({ channel: 1, uuid: UUID }));
    assert.deepEqual(await acceptShort(t, listener, 1), ['multifd 1']);
    main.write('VM and more');
    const accepted = await listener.accept();
    assert.equal(short(t, accepted), 'main');
    assert.ok(accepted.kind === 'main');
    let text = '';
    while (text.length < 11 + 2) text += await accepted.channel.read();
    assert.equal(text, 'QEVM and more');
    assert.equal(accepted.channel.bytesRead, 13);
    await slow;
    assert.deepEqual(await acceptShort(t, listener, 1), ['multifd 0']);
  });
}

test('a multifd connection moves to a worker, which reads on behind the handshake', async (t) => {
  const listener = await listening(t);
  const source = await dial(t, listener);
  source.write(Buffer.concat([encodeMultifdHandshake({ channel: 7, uuid: UUID }), Buffer.from('early,')]));
  const accepted = await listener.accept();
  assert.ok(accepted.kind === 'multifd');
  assert.ok(accepted.connection.isPaused());
  assert.equal(accepted.connection.bytesRead, 0);
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads');
     const net = require('node:net');
     parentPort.once('message', (moved) => {
       const handle = moved._handle;
       moved._handle = null;
       const buffer = new Uint8Array(new SharedArrayBuffer(64));
       let text = '';
       const socket = new net.Socket({ handle, onread: { buffer, callback: (n) => { text += Buffer.from(buffer.slice(0, n)); return true; } } });
       socket.on('end', () => { socket.destroy(); parentPort.postMessage(text); });
       socket.resume();
     });`,
    { eval: true },
  );
  t.after(() => worker.terminate());
  worker.postMessage(accepted.connection, [accepted.connection as never]);
  await listener.close();
  source.end('late');
  const [text] = await new Promise<string[]>((resolve) => worker.once('message', (said) => resolve([said])));
  assert.equal(text, 'early,late');
});

test('garbage, silence, a part of a handshake, early ends and resets are rejected by their codes', async (t) => {
  const listener = await listening(t, 'tcp:127.0.0.1:0', 250);
  const rejected = async (): Promise<MigrationError> => {
    const accepted = await listener.accept();
    assert.ok(accepted.kind === 'rejected', accepted.kind);
    return accepted.error;
  };
  const garbage = await dial(t, listener);
  garbage.write('GET / HTTP/1.1');
  let error = await rejected();
  assert.equal(error.code, 'bad-magic');
  assert.match(
    error.message,
    /0x47455420.*0x5145564d or 0x11223344.*byte 0 of connection from 127\.0\.0\.1:/,
  );
  await new Promise((resolve) => garbage.once('close', resolve));

  (await dial(t, listener)).end('QEV');
  error = await rejected();
  assert.equal(error.code, 'truncated');
  assert.match(error.message, /3 bytes: 0x514556/);

  (await dial(t, listener)).end();
  assert.match((await rejected()).message, /found nothing/);

  (await dial(t, listener)).end(encodeMultifdHandshake({ channel: 1 }).subarray(0, 40));
  assert.match((await rejected()).message, /40 bytes/);

  (await dial(t, listener)).resetAndDestroy();
  assert.equal((await rejected()).code, 'connection-lost');

  const wrongVersion = encodeMultifdHandshake({ channel: 1 });
  wrongVersion[7] = 9;
  (await dial(t, listener)).write(wrongVersion);
  assert.equal((await rejected()).code, 'bad-version');

  const started = performance.now();
  await dial(t, listener);
  error = await rejected();
  assert.equal(error.code, 'channel-timeout');
  assert.match(error.message, /in 250 ms.*found nothing, expected 4 bytes/);
  const part = await dial(t, listener);
  part.write(encodeMultifdHandshake({ channel: 1 }).subarray(0, 10));
  error = await rejected();
  assert.equal(error.code, 'channel-timeout');
  assert.match(error.message, /10 bytes: 0x11223344.*expected 64 bytes/);
  assert.ok(performance.now() - started < 2000);
});

test('more connections than may wait are turned away, the others stay', async (t) => {
  const listener = await listening(t, 'tcp:127.0.0.1:0', 30_000);
  const sockets: net.Socket[] = [];
  for (let i = 0; i < 301; i++) sockets.push(await dial(t, listener));
  const accepted = await listener.accept();
  assert.ok(accepted.kind === 'rejected');
  assert.equal(accepted.error.code, 'limit-exceeded');
  sockets[150]?.write('QEVM');
  assert.deepEqual(await acceptShort(t, listener, 1), ['main']);
  await listener.close();
  await Promise.all(sockets.filter((_, i) => i !== 150).map((socket) => socket.closed || closed(socket)));
});

function closed(socket: net.Socket): Promise<unknown> {
  socket.resume();
  return new Promise((resolve) => socket.once('close', resolve));
}

test('close ends the listening, what waits, and what was not taken', async (t) => {
  const listener = await listening(t);
  const silent = await dial(t, listener);
  const ready = await dial(t, listener);
  ready.write('QEVM');
  const channel = await dial(t, listener);
  channel.write(encodeMultifdHandshake({ channel: 0 }));
  await delay(50);
  await listener.close();
  await listener.close();
  await Promise.all([silent, ready, channel].map(closed));
  await assert.rejects(listener.accept(), { code: 'cancelled' });
  await assert.rejects(connect(parseUri(listener.address), { timeoutMs: 1000 }), { code: 'connect-failed' });

  const other = await listening(t);
  const waiting = [other.accept(), other.accept()];
  await other.close();
  for (const promise of waiting) await assert.rejects(promise, { code: 'cancelled' });
});

test('an abort signal closes the listener', async (t) => {
  const controller = new AbortController();
  const options = { backlog: 1, firstBytesTimeoutMs: 1000, signal: controller.signal };
  const listener = await listen(parseUri('tcp:127.0.0.1:0'), options);
  const single = await listen(parseUri(`exec:sleep 100`), options);
  t.after(() => listener.close());
  const waiting = listener.accept();
  controller.abort(new MigrationError('stall-timeout', 'the reason'));
  await assert.rejects(waiting, { code: 'stall-timeout' });
  await assert.rejects(single.accept(), { code: 'stall-timeout' });
  await assert.rejects(listen(parseUri('tcp:127.0.0.1:0'), options), { code: 'stall-timeout' });
});

test('addresses: port 0, all addresses, to=, one family, an address in use', async (t) => {
  const first = await listening(t);
  assert.match(first.address, /^tcp:127\.0\.0\.1:[1-9][0-9]*$/);
  const port = Number(first.address.split(':').at(-1));
  await assert.rejects(listening(t, first.address), { code: 'listen-failed', message: /EADDRINUSE/ });
  const next = await listening(t, `tcp:127.0.0.1:${port},to=${Math.min(port + 50, 65535)}`);
  const nextPort = Number(next.address.split(':').at(-1));
  assert.ok(nextPort > port && nextPort <= port + 50, next.address);

  for (const uri of ['tcp::0', 'tcp::0,ipv4', 'tcp:0:0', 'tcp:localhost:0']) {
    const listener = await listening(t, uri);
    const at = Number(listener.address.split(':').at(-1));
    const source = await connect(parseUri(uri === 'tcp:localhost:0' ? listener.address : `tcp::${at}`), {
      timeoutMs: 2000,
    });
    source.write(Buffer.from('QEVM'));
    assert.deepEqual(await acceptShort(t, listener, 1), ['main'], uri);
    source.destroy(new Error('test is over'));
  }
  assert.match((await listening(t, 'tcp::0,ipv4')).address, /^tcp:0\.0\.0\.0:/);
  await assert.rejects(listening(t, 'tcp:192.0.2.1:0'), { code: 'listen-failed', message: /EADDRNOTAVAIL/ });
  await assert.rejects(listening(t, 'tcp:no-such-host.invalid:0'), { code: 'listen-failed' });
});

test('a unix listener replaces an old socket, no other file, and takes its own away', async (t) => {
  const path = join(directory, 'stale');
  const worker = new Worker(
    `require('node:net').createServer().listen(${JSON.stringify(path)}, () => require('node:worker_threads').parentPort.postMessage(0))`,
    { eval: true },
  );
  await new Promise((resolve) => worker.once('message', resolve));
  assert.ok(existsSync(path));
  const listener = await listening(t, `unix:${path}`);
  assert.equal(listener.address, `unix:${path}`);
  (await dial(t, listener)).write('QEVM');
  assert.deepEqual(await acceptShort(t, listener, 1), ['main']);
  await listener.close();
  assert.ok(!existsSync(path));
  await worker.terminate();

  const file = join(directory, 'file');
  writeFileSync(file, 'precious');
  await assert.rejects(listening(t, `unix:${file}`), {
    code: 'listen-failed',
    message: /a file that is no socket/,
  });
  assert.ok(existsSync(file));
  await assert.rejects(listening(t, `unix:${directory}/none/s`), { code: 'listen-failed' });
});
