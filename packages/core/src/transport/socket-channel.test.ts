import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import net from 'node:net';
import test, { type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '../error.ts';
import { folderWithoutLeftovers } from '../testing/leftovers.ts';
import type { ByteChannel } from './byte-channel.ts';
import { connect } from './connect.ts';
import { listen } from './listen.ts';
import { parseUri } from './uri.ts';

const directory = folderWithoutLeftovers('socket');

interface Pair {
  readonly source: ByteChannel;
  readonly destination: ByteChannel;
}

/** Both ends of a connection; the magic that told the listener what it is has been read. */
async function pair(t: TestContext, uri: string, closeTimeoutMs = 2000): Promise<Pair> {
  const listener = await listen(parseUri(uri), { backlog: 1, firstBytesTimeoutMs: 2000, closeTimeoutMs });
  const source = await connect(parseUri(listener.address), { timeoutMs: 2000, closeTimeoutMs });
  source.write(Buffer.from('QEVM'));
  const accepted = await listener.accept();
  assert.ok(accepted.kind === 'main');
  await listener.close();
  const destination = accepted.channel;
  assert.equal(String(await destination.read()), 'QEVM');
  t.after(() => {
    source.destroy(new Error('test is over'));
    destination.destroy(new Error('test is over'));
  });
  return { source, destination };
}

/** A plain net.Socket at the other end of a connected channel. */
async function withRawPeer(
  t: TestContext,
  closeTimeoutMs = 500,
): Promise<{ channel: ByteChannel; peer: net.Socket }> {
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const arrived = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const channel = await connect(
    { transport: 'tcp', host: '127.0.0.1', port },
    { timeoutMs: 2000, closeTimeoutMs },
  );
  const peer = await arrived;
  peer.on('error', () => {});
  server.close();
  t.after(() => {
    peer.destroy();
    channel.destroy(new Error('test is over'));
  });
  return { channel, peer };
}

function code(expected: string, message?: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof MigrationError, String(error));
    assert.equal(error.code, expected, error.message);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  };
}

for (const uri of ['tcp:127.0.0.1:0', `unix:${directory}/pair`]) {
  const kind = uri.slice(0, 4).replace(':', '');

  test(`${kind}: bytes of any size arrive in order, with backpressure, from shared memory`, async (t) => {
    const { source, destination } = await pair(t, uri);
    assert.ok(source.duplex && destination.duplex);
    const memory = new Uint8Array(new SharedArrayBuffer(8 * 1024 * 1024));
    memory.set(randomBytes(memory.byteLength));
    const sent = createHash('sha256');
    let waits = 0;
    const sending = (async () => {
      for (let i = 0, at = 0; i < 400; i++) {
        const lengthBytes = i % 3 === 0 ? 8 : (i * 7919) % 300_000;
        if (at + lengthBytes > memory.byteLength) at = 0;
        const piece = memory.subarray(at, at + lengthBytes);
        at += lengthBytes;
        sent.update(piece);
        if (!source.write(piece)) {
          waits++;
          await source.drained();
        }
      }
      await source.flushed();
      await source.close();
    })();
    const received = createHash('sha256');
    let largest = 0;
    for (let chunk = await destination.read(); chunk !== undefined; chunk = await destination.read()) {
      received.update(chunk);
      largest = Math.max(largest, chunk.byteLength);
      if (destination.bytesRead < 2_000_000) await delay(2);
    }
    await destination.close();
    await sending;
    assert.equal(received.digest('hex'), sent.digest('hex'));
    assert.equal(destination.bytesRead, source.bytesWritten);
    assert.ok(waits > 0, 'the writer never had to wait');
    assert.ok(largest > 64 * 1024, `the largest chunk had ${largest} bytes`);
  });

  test(`${kind}: the source ends its writes and still reads the answer`, async (t) => {
    const { source, destination } = await pair(t, uri);
    const answer = source.read();
    source.write(Buffer.from('all'));
    const closing = source.flushed().then(() => source.close());
    assert.equal(String(await destination.read()), 'all');
    assert.equal(await destination.read(), undefined);
    destination.write(Buffer.from('SHUT'));
    await destination.close();
    assert.equal(String(await answer), 'SHUT');
    await closing;
    assert.equal(await source.read(), undefined);
    assert.equal(await destination.read(), undefined);
  });

  test(`${kind}: a chunk is valid until the next read, and only then`, async (t) => {
    const { source, destination } = await pair(t, uri);
    source.write(Buffer.from('aaaa'));
    const first = await destination.read();
    source.write(Buffer.from('bbbb'));
    await source.flushed();
    await delay(20);
    assert.equal(String(first), 'aaaa');
    assert.equal(String(await destination.read()), 'bbbb');
    assert.equal(String(first), 'bbbb', 'the memory is used again');
  });
}

test('destroy rejects what is pending, at once, with its error', async (t) => {
  const { source, destination } = await pair(t, 'tcp:127.0.0.1:0');
  const reading = source.read();
  source.write(new Uint8Array(64 * 1024 * 1024));
  const waiting = [source.drained(), source.flushed(), reading, source.failed];
  const failure = new Error('over');
  source.destroy(failure);
  source.destroy(new Error('second'));
  for (const promise of waiting) await assert.rejects(promise, failure);
  await assert.rejects(source.read(), failure);
  await assert.rejects(source.close(), failure);
  assert.equal(source.write(new Uint8Array(1)), false);
  const peerSees = (async () => {
    while ((await destination.read()) !== undefined);
  })();
  await peerSees.catch(code('connection-lost'));
});

test('two reads at the same time are a defect of the caller', async (t) => {
  const { source, destination } = await pair(t, 'tcp:127.0.0.1:0');
  const first = source.read();
  await assert.rejects(source.read(), code('internal'));
  destination.write(Buffer.from('x'));
  assert.equal(String(await first), 'x');
});

test('a peer that stops reading: close gives up in time, destroy at once', async (t) => {
  const { channel } = await withRawPeer(t, 300);
  channel.write(new Uint8Array(64 * 1024 * 1024));
  const started = performance.now();
  await assert.rejects(channel.close(), code('stall-timeout', /took nothing for 300 ms.*main/));
  assert.ok(performance.now() - started < 1500);

  const other = await withRawPeer(t);
  other.channel.write(new Uint8Array(64 * 1024 * 1024));
  const flushed = other.channel.flushed();
  await delay(20);
  other.channel.destroy(new Error('now'));
  await assert.rejects(flushed, /now/);
});

test('a peer that does not close does not keep close waiting', async (t) => {
  const { channel, peer } = await withRawPeer(t, 200);
  channel.write(Buffer.from('bye'));
  const reading = channel.read();
  const started = performance.now();
  await channel.close();
  assert.ok(performance.now() - started < 1500);
  assert.equal(await reading, undefined);
  let got = '';
  for await (const chunk of peer) got += chunk;
  assert.equal(got, 'bye');
});

test('a peer that slowly takes what is queued is waited for', async (t) => {
  const { channel, peer } = await withRawPeer(t, 1000);
  const total = 24 * 1024 * 1024;
  channel.write(new Uint8Array(total));
  let got = 0;
  peer.on('data', (chunk) => {
    got += chunk.byteLength;
    peer.pause();
    setTimeout(() => peer.resume(), 5);
  });
  peer.on('end', () => peer.end());
  peer.resume();
  const started = performance.now();
  await channel.close();
  assert.equal(got, total);
  assert.ok(performance.now() - started > 1000, 'slow enough to show something');
});

test('a reset is a lost connection, with the errno, the channel and the byte', async (t) => {
  const { channel, peer } = await withRawPeer(t);
  channel.write(Buffer.from('12345'));
  await channel.flushed();
  const reading = channel.read();
  peer.resetAndDestroy();
  await assert.rejects(reading, code('connection-lost', /ECONNRESET \(read\).*at byte 0 of main/));
  await assert.rejects(channel.failed, code('connection-lost'));
  await assert.rejects(channel.drained(), code('connection-lost'));
});

test('writing to a peer that is gone fails in bounded time, even if nobody reads', async (t) => {
  const { channel, peer } = await withRawPeer(t);
  peer.resetAndDestroy();
  const started = performance.now();
  await assert.rejects(
    async () => {
      for (;;) {
        channel.write(new Uint8Array(100_000));
        await channel.flushed();
      }
    },
    code('connection-lost', /(EPIPE|ECONNRESET)/),
  );
  assert.ok(performance.now() - started < 1500);
});

test('what the peer said before it went is still read after a failed write', async (t) => {
  for (let round = 0; round < 5; round++) {
    const { channel, peer } = await withRawPeer(t);
    channel.write(new Uint8Array(1000));
    await channel.flushed();
    peer.write('SHUT 1');
    await new Promise((resolve) => setTimeout(resolve, 5));
    peer.resetAndDestroy();
    await new Promise((resolve) => setTimeout(resolve, 5));
    const writing = (async () => {
      for (;;) {
        channel.write(new Uint8Array(100_000));
        await channel.flushed();
      }
    })();
    writing.catch(() => {});
    assert.equal(String(await channel.read()), 'SHUT 1');
    await assert.rejects(writing, code('connection-lost'));
  }
});

test('a failure that nobody waits for disturbs nobody', async (t) => {
  const unhandled: unknown[] = [];
  const note = (error: unknown) => unhandled.push(error);
  process.on('unhandledRejection', note);
  const { channel, peer } = await withRawPeer(t);
  channel.write(new Uint8Array(1000));
  peer.resetAndDestroy();
  await delay(50);
  channel.write(new Uint8Array(1000));
  await delay(300);
  process.off('unhandledRejection', note);
  assert.deepEqual(unhandled, []);
});
