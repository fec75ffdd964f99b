import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { QmpClient } from './client.ts';
import { QmpError } from './error.ts';
import { type QmpCommand, QmpServer, type QmpServerOptions } from './server.ts';

const VERSION = { qemu: { major: 10, minor: 0, micro: 0 }, package: 'test' };

/** A gate that a command waits at. */
const gate = { opened: Promise.withResolvers<void>() };
const log: string[] = [];

const COMMANDS: Record<string, QmpCommand> = {
  echo: { run: (args) => args },
  wait: { run: () => gate.opened.promise.then(() => 'waited') },
  urgent: { allowOutOfBand: true, run: () => 'at once' },
  refuse: {
    run: () => {
      throw new QmpError('no such device', 'DeviceNotFound');
    },
  },
  break: {
    run: () => {
      throw new TypeError('a defect');
    },
  },
  large: { run: () => 'x'.repeat(1 << 20) },
};

interface Fixture {
  server: QmpServer;
  path: string;
  client(options?: { oob?: boolean }): Promise<QmpClient>;
  raw(): Promise<RawClient>;
}

async function serve(t: TestContext, options: Partial<QmpServerOptions> = {}): Promise<Fixture> {
  gate.opened = Promise.withResolvers();
  log.length = 0;
  const folder = mkdtempSync(join(tmpdir(), 'pageferry-qmp-'));
  const path = join(folder, 'qmp');
  const server = new QmpServer({
    version: VERSION,
    commands: new Map(Object.entries(COMMANDS)),
    log: (text) => log.push(text),
    ...options,
  });
  await server.listen({ transport: 'unix', path });
  t.after(async () => {
    gate.opened.resolve();
    await server.close();
    rmSync(folder, { recursive: true });
  });
  return {
    server,
    path,
    client: (clientOptions) => QmpClient.connect({ transport: 'unix', path }, clientOptions),
    raw: () => RawClient.connect(path),
  };
}

/** A client that sends whatever a test wants. */
class RawClient {
  readonly socket: Socket;
  readonly #closed: Promise<unknown>;
  #text = '';

  private constructor(socket: Socket) {
    this.socket = socket;
    this.#closed = once(socket, 'close');
    socket.setEncoding('latin1').on('data', (text: string) => {
      this.#text += text;
    });
    socket.on('error', () => {});
  }

  static async connect(path: string): Promise<RawClient> {
    const client = new RawClient(connect(path));
    await client.line();
    return client;
  }

  async line(): Promise<string> {
    while (!this.#text.includes('\r\n')) {
      assert.ok(!this.socket.destroyed, 'the server closed the connection');
      await Promise.race([once(this.socket, 'data'), this.#closed]);
    }
    const end = this.#text.indexOf('\r\n');
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 2);
    return line;
  }

  async ask(text: string | Buffer): Promise<string> {
    this.socket.write(text);
    return this.line();
  }
}

test('greeting, negotiation, answers and ids are as in QMP', async (t) => {
  const { path } = await serve(t);
  const socket = connect(path);
  const [greeting] = await once(socket.setEncoding('utf8'), 'data');
  socket.destroy();
  assert.equal(
    greeting,
    '{"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": "test"}, "capabilities": ["oob"]}}\r\n',
  );
  const raw = await RawClient.connect(path);
  for (const [request, answer] of [
    [
      '{"execute": "echo", "id": 1}',
      '{"id": 1, "error": {"class": "CommandNotFound", "desc": "capabilities are not negotiated yet: qmp_capabilities comes first"}}',
    ],
    [
      '{"execute":"qmp_capabilities","arguments":{"enable":["foo"]}}',
      '{"error": {"class": "GenericError", "desc": "enable: there is no capability foo here"}}',
    ],
    [
      '{"exec-oob":"urgent"}',
      '{"error": {"class": "GenericError", "desc": "a request has no member exec-oob"}}',
    ],
    ['{"execute":"qmp_capabilities"}', '{"return": {}}'],
    [
      '{"execute":"qmp_capabilities"}',
      '{"error": {"class": "CommandNotFound", "desc": "capabilities are negotiated already"}}',
    ],
    [
      `{'execute':'echo','arguments':{'a':[1]},'id':{"x":[null,12345678901234567890]}}`,
      '{"return": {"a": [1]}, "id": {"x": [null, 12345678901234567890]}}',
    ],
    ['{"execute":"echo","id":null}', '{"return": {}, "id": null}'],
    [
      '{"execute":"nothing","id":"é"}',
      '{"id": "\\u00E9", "error": {"class": "CommandNotFound", "desc": "there is no command nothing"}}',
    ],
    [
      '{"execute":"toString"}',
      '{"error": {"class": "CommandNotFound", "desc": "there is no command toString"}}',
    ],
    ['{"execute":"refuse"}', '{"error": {"class": "DeviceNotFound", "desc": "no such device"}}'],
    ['{"execute":"break"}', '{"error": {"class": "GenericError", "desc": "TypeError: a defect"}}'],
    ['[1]', '{"error": {"class": "GenericError", "desc": "a request is a JSON object"}}'],
    ['{"execute":1}', '{"error": {"class": "GenericError", "desc": "execute of a request is a string"}}'],
    [
      '{"id":2}',
      '{"id": 2, "error": {"class": "GenericError", "desc": "a request has execute, the name of a command"}}',
    ],
    [
      '{"execute":"echo","arguments":3}',
      '{"error": {"class": "GenericError", "desc": "arguments of a request is an object"}}',
    ],
    [
      '{"execute":"echo","foo":3}',
      '{"error": {"class": "GenericError", "desc": "a request has no member foo"}}',
    ],
    ['}', '{"error": {"class": "GenericError", "desc": "this is no JSON: a } that closes nothing"}}'],
  ] as const) {
    assert.equal(await raw.ask(request), Buffer.from(answer).toString('latin1'), request);
  }
  assert.match(await raw.ask('garbage\n'), /"class": "GenericError", "desc": "this is no JSON: /);
  assert.match(await raw.ask(Buffer.of(0xff)), /this is no JSON/);
  assert.match(log.join('\n'), /^break: TypeError: a defect/);
});

test('requests that come together are all answered, wrong ones as well', async (t) => {
  const { raw } = await serve(t);
  const client = await raw();
  await client.ask('{"execute":"qmp_capabilities"}');
  // More than are read ahead.
  const wrong = 20;
  client.socket.write(`${'[1] '.repeat(wrong)}{"execute":"echo","id":1}`);
  for (let answer = 0; answer < wrong; answer++) assert.match(await client.line(), /"error"/);
  assert.equal(await client.line(), '{"return": {}, "id": 1}');
});

test('several clients: commands of all run one after another, out-of-band ones at once', async (t) => {
  const { client } = await serve(t);
  const one = await client({ oob: true });
  const two = await client();
  const order: string[] = [];
  const note = (name: string) => () => void order.push(name);
  const waiting = one.execute('wait').then(note('wait'));
  const second = two.execute('echo').then(note('echo of the other'));
  const third = one.execute('echo').then(note('echo'));
  await one.execute('urgent', {}, { oob: true }).then(note('urgent'));
  assert.deepEqual(order, ['urgent']);
  gate.opened.resolve();
  await Promise.all([waiting, second, third]);
  assert.equal(order[1], 'wait');
  await assert.rejects(one.execute('echo', {}, { oob: true }), {
    desc: 'echo cannot run out of band',
  });
  await assert.rejects(two.execute('urgent', {}, { oob: true }), /no member exec-oob|has execute/);
});

test('events go to every client that has negotiated', async (t) => {
  const { server, client, raw } = await serve(t);
  const clients = [await client(), await client()];
  const silent = await raw();
  const beforeMs = Date.now();
  server.emit({ event: 'MIGRATION', data: { status: 'setup' } });
  server.emit({ event: 'STOP' });
  for (const each of clients) {
    const { timestamp, ...event } = await each.waitForEvent('MIGRATION');
    assert.deepEqual(event, { event: 'MIGRATION', data: { status: 'setup' } });
    const atMs = timestamp.seconds * 1000 + timestamp.microseconds / 1000;
    assert.ok(Math.abs(atMs - beforeMs) < 60_000 && timestamp.microseconds < 1e6);
    assert.deepEqual(Object.keys(await each.waitForEvent('STOP')), ['timestamp', 'event']);
  }
  assert.match(await silent.ask('{"execute":"qmp_capabilities"}'), /^\{"return": \{\}\}$/);
});

test('a client that goes away, sends rubbish or too much disturbs nobody', async (t) => {
  const { client, raw } = await serve(t);
  const good = await client();
  const gone = await raw();
  gone.socket.write('{"execute":"qmp_capabilities"}{"execute":"wait"}{"execute":"echo"}{"execute":');
  await gone.line();
  gone.socket.destroy();
  const rubbish = await raw();
  rubbish.socket.write(Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 2654435761) >>> 24)));
  const large = await raw();
  large.socket.write(`{"execute":"${'x'.repeat(1 << 20)}`);
  assert.match(await large.line(), /a value of more than 1048576 bytes/);
  await once(large.socket, 'close');
  assert.match(log.join(), /dropped, a request of more than 1048576 bytes/);
  const answer = good.execute('echo', { a: 1 });
  gate.opened.resolve();
  assert.deepEqual(await answer, { a: 1 });
  rubbish.socket.destroy();
});

test('a client that does not read is dropped, its requests are not taken without end', async (t) => {
  const { server, client, raw } = await serve(t);
  const good = await client();
  const slow = await raw();
  await slow.ask('{"execute":"qmp_capabilities"}');
  slow.socket.pause();
  const closed = once(slow.socket, 'close');
  // Answers of a MiB each: the server stops taking requests as soon as one has not been read.
  for (let i = 0; i < 100; i++) slow.socket.write('{"execute":"large"}\n');
  await delay(200);
  assert.deepEqual(await good.execute('echo', { b: 2 }), { b: 2 });
  assert.equal(log.length, 0);
  // Events come whether it reads or not.
  for (let i = 0; i < 100; i++) {
    server.emit({ event: 'E', data: { text: 'x'.repeat(100_000) } });
    await delay(1);
  }
  assert.match(log[0]!, /QMP client 2: dropped, it does not read/);
  slow.socket.resume();
  await closed;
  assert.deepEqual(await good.execute('echo', { c: 3 }), { c: 3 });
});

test('only so many clients', async (t) => {
  const { client, path } = await serve(t, { maxClients: 2 });
  const clients = [await client(), await client()];
  const third = connect(path);
  await once(
    third.on('error', () => {}),
    'close',
  );
  assert.match(log[0]!, /turned away/);
  clients[0]!.close();
  await delay(50);
  await client();
});

test('closing answers what was asked and then ends every session', async (t) => {
  const { server, client } = await serve(t);
  const one = await client();
  const answer = one.execute('wait');
  await delay(50);
  const closed = server.close();
  gate.opened.resolve();
  assert.equal(await answer, 'waited');
  await closed;
  await one.closed;
  await assert.rejects(one.execute('echo'), { code: 'connection-lost' });
  await assert.rejects(client(), { code: 'connect-failed' });
});
