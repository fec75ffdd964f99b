import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import test from 'node:test';
import { QmpClient } from './client.ts';

const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}\r\n';

/** A server that says what a test wants: `answers[n]` to the nth request. */
function server(greeting: string, ...answers: string[]): Duplex {
  const stream: Duplex = new Duplex({
    read() {},
    write(_chunk, _encoding, done) {
      const answer = answers.shift();
      if (answer === '') stream.push(null);
      else if (answer !== undefined) stream.push(answer);
      done();
    },
  });
  stream.push(greeting);
  return stream;
}

test('answers find their commands, events come between', async () => {
  const client = await QmpClient.open(
    server(
      GREETING,
      '{"return": {}, "id": 1}\r\n',
      '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}\r\n{"error": {"class": "GenericError", "desc": "no"}, "id": 2}',
    ),
  );
  assert.equal(client.version.qemu.major, 7);
  const early = client.waitForEvent('STOP');
  await assert.rejects(client.execute('stop'), {
    name: 'QmpError',
    class: 'GenericError',
    desc: 'no',
    message: 'stop: GenericError: no',
  });
  assert.equal((await early).timestamp.seconds, 1);
  assert.equal(await client.waitForEvent('STOP'), await early);
  await assert.rejects(
    client.waitForEvent('RESUME', () => true, 20),
    { code: 'stall-timeout' },
  );
});

test('a server that goes away, is silent, or is no QMP server', async () => {
  const lost = await QmpClient.open(server(GREETING, '{"return": {}, "id": 1}', ''));
  const event = lost.waitForEvent('STOP');
  event.catch(() => {});
  await assert.rejects(lost.execute('quit'), { code: 'connection-lost' });
  await assert.rejects(event, { code: 'connection-lost' });
  await lost.closed;
  await assert.rejects(lost.execute('quit'), { code: 'connection-lost' });
  await assert.rejects(QmpClient.open(server(''), { timeoutMs: 20 }), { code: 'connect-timeout' });
  await assert.rejects(QmpClient.open(server(''), { signal: AbortSignal.abort() }), { code: 'cancelled' });
  for (const rubbish of ['SSH-2.0-x\r\n', '{]', '{"foo": 1}', '[1]', '{"return": {}, "id": 7}']) {
    await assert.rejects(QmpClient.open(server(rubbish)), { code: 'bad-qmp' }, rubbish);
  }
});
