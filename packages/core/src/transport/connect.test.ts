import assert from 'node:assert/strict';
import net from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { MigrationError } from '../error.ts';
import { folderWithoutLeftovers } from '../testing/leftovers.ts';
import { connect, connectSocket } from './connect.ts';
import { parseUri, type SocketAddress } from './uri.ts';

const directory = folderWithoutLeftovers('connect');

interface FullListener {
  readonly address: SocketAddress;
  /** Lets it accept what waits. */
  release(): void;
}

/** A listening socket whose queue is full, since its thread stands still. */
async function fullListener(t: TestContext, path?: string): Promise<FullListener> {
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads');
     const server = require('node:net').createServer((socket) => socket.on('error', () => {}));
     server.listen({ ...workerData.where, backlog: 1 }, () => {
       parentPort.postMessage(server.address().port ?? 0);
       setTimeout(() => Atomics.wait(workerData.gate, 0, 0), 20);
     });`,
    {
      eval: true,
      workerData: { gate, where: path === undefined ? { port: 0, host: '127.0.0.1' } : { path } },
    },
  );
  const port = await new Promise<number>((resolve) => worker.once('message', resolve));
  const release = (): void => {
    Atomics.store(gate, 0, 1);
    Atomics.notify(gate, 0);
  };
  t.after(() => {
    release();
    return worker.terminate();
  });
  await delay(60);
  const fillers = Array.from({ length: 4 }, () =>
    net.connect(path === undefined ? { port, host: '127.0.0.1' } : { path }).on('error', () => {}),
  );
  t.after(() => fillers.map((socket) => socket.destroy()));
  await delay(40);
  const address: SocketAddress =
    path === undefined ? { transport: 'tcp', host: '127.0.0.1', port } : { transport: 'unix', path };
  return { address, release };
}

for (const kind of ['tcp', 'unix']) {
  test(`${kind}: a listener that does not answer is given up in time`, async (t) => {
    const { address } = await fullListener(t, kind === 'unix' ? join(directory, 'full') : undefined);
    const started = performance.now();
    await assert.rejects(connect(address, { timeoutMs: 200 }), {
      code: 'connect-timeout',
      message: new RegExp(`no connection to ${kind}:.* within 200 ms`),
      retryable: true,
    });
    const tookMs = performance.now() - started;
    assert.ok(tookMs > 150 && tookMs < 1000, `${tookMs} ms`);
  });

  test(`${kind}: connecting is cancelled at once`, async (t) => {
    const { address } = await fullListener(t, kind === 'unix' ? join(directory, 'full2') : undefined);
    const controller = new AbortController();
    const connecting = connectSocket(address, { timeoutMs: 10_000, signal: controller.signal });
    await delay(30);
    const started = performance.now();
    controller.abort();
    await assert.rejects(connecting, { code: 'cancelled' });
    assert.ok(performance.now() - started < 1000);
    await assert.rejects(connect(address, { timeoutMs: 10_000, signal: controller.signal }), {
      code: 'cancelled',
    });
  });
}

test('a place in the queue of a busy unix listener is waited for', async (t) => {
  const { address, release } = await fullListener(t, join(directory, 'busy'));
  const connecting = connectSocket(address, { timeoutMs: 5000 });
  await delay(50);
  release();
  (await connecting).destroy();
});

test('refused, absent and unknown addresses say so', async () => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  for (const host of ['127.0.0.1', '', 'localhost']) {
    await assert.rejects(connect({ transport: 'tcp', host, port }, { timeoutMs: 2000 }), {
      code: 'connect-failed',
      message: new RegExp(`cannot connect to tcp:${host}:${port}: found ECONNREFUSED`),
    });
  }
  await assert.rejects(connect(parseUri(`unix:${directory}/none`), { timeoutMs: 2000 }), {
    code: 'connect-failed',
    message: /ENOENT/,
  });
  await assert.rejects(
    connect(parseUri('tcp:no-such-host.invalid:1'), { timeoutMs: 5000 }),
    (error: unknown) => {
      assert.ok(error instanceof MigrationError);
      return error.code === 'connect-failed' || error.code === 'connect-timeout';
    },
  );
});

test('what is only for listening is refused', async () => {
  await assert.rejects(connect(parseUri('tcp:localhost:0'), { timeoutMs: 1000 }), {
    code: 'bad-uri',
    message: /port 0/,
  });
  await assert.rejects(connect(parseUri('tcp:localhost:1,to=9'), { timeoutMs: 1000 }), {
    code: 'bad-uri',
    message: /to=/,
  });
});

test('a socket reads into memory of the caller', async (t) => {
  const server = net.createServer((socket) => socket.end('hello'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  const memory = new Uint8Array(new SharedArrayBuffer(64));
  let got = 0;
  const socket = await connectSocket(
    { transport: 'tcp', host: '127.0.0.1', port, keepAlive: true },
    {
      timeoutMs: 1000,
      onread: {
        buffer: () => memory.subarray(got),
        callback: (lengthBytes) => {
          got += lengthBytes;
          return true;
        },
      },
    },
  );
  socket.resume();
  await new Promise((resolve) => socket.once('end', resolve));
  assert.equal(Buffer.from(memory.slice(0, got)).toString(), 'hello');
  assert.ok(socket.writable, 'half open');
  socket.destroy();
});
