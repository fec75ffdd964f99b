import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { constants, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { folderWithoutLeftovers } from '../testing/leftovers.ts';
import type { ByteChannel } from './byte-channel.ts';
import { connect } from './connect.ts';
import { listen } from './listen.ts';
import { parseUri } from './uri.ts';

const directory = folderWithoutLeftovers('exec');

function write(uri: string): Promise<ByteChannel> {
  return connect(parseUri(uri), { timeoutMs: 2000 });
}

async function read(uri: string): Promise<ByteChannel> {
  const listener = await listen(parseUri(uri), { backlog: 1, firstBytesTimeoutMs: 1000 });
  const accepted = await listener.accept();
  assert.ok(accepted.kind === 'main');
  return accepted.channel;
}

async function writeUntilFailure(channel: ByteChannel): Promise<never> {
  for (;;) {
    if (!channel.write(new Uint8Array(100_000))) await channel.drained();
    await channel.flushed();
    await delay(1);
  }
}

/** Waits until a process that wrote its id into a file is no more. */
async function gone(pidFile: string): Promise<void> {
  const pid = Number(readFileSync(pidFile, 'utf8'));
  assert.ok(pid > 0);
  for (let i = 0; i < 100; i++) {
    try {
      process.kill(pid, 0);
      if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return;
    } catch {
      return;
    }
    await delay(10);
  }
  assert.fail(`process ${pid} lives`);
}

async function exists(path: string): Promise<void> {
  for (let i = 0; i < 200 && !existsSync(path); i++) await delay(10);
  assert.ok(existsSync(path), path);
  await delay(20);
}

test('exec: a command takes the stream, another gives it back, with backpressure', async () => {
  const path = join(directory, 'stream');
  const writing = await write(`exec:sleep 0.1; cat > '${path}'`);
  assert.equal(writing.duplex, false);
  const memory = new Uint8Array(new SharedArrayBuffer(3 * 1024 * 1024));
  memory.set(randomBytes(memory.byteLength));
  let waits = 0;
  for (let at = 0; at < memory.byteLength; at += 65536) {
    if (!writing.write(memory.subarray(at, at + 65536))) {
      waits++;
      await writing.drained();
    }
  }
  await writing.close();
  assert.ok(waits > 0);
  assert.ok(readFileSync(path).equals(memory));

  const reading = await read(`exec:cat '${path}'`);
  const hash = createHash('sha256');
  for (let chunk = await reading.read(); chunk !== undefined; chunk = await reading.read())
    hash.update(chunk);
  assert.equal(hash.digest('hex'), createHash('sha256').update(memory).digest('hex'));
  assert.equal(reading.bytesRead, memory.byteLength);
  await reading.close();
});

test('exec: a command that fails early, while nothing is written too', async () => {
  const channel = await write('exec:echo no space there >&2; exit 3');
  await assert.rejects(channel.failed, {
    code: 'destination-failed',
    message: /exit code 3, saying 'no space there', expected exit code 0 \(at byte 0 of main\)/,
  });
  await assert.rejects(channel.flushed(), { code: 'destination-failed' });
  await assert.rejects(channel.close(), { code: 'destination-failed' });
});

test('exec: a command that fails in the middle, by code, by signal, and by merely stopping', async () => {
  const cases: [string, string, RegExp][] = [
    ['head -c 300000 >/dev/null; exit 4', 'destination-failed', /exit code 4/],
    ['head -c 300000 >/dev/null; kill -9 $$', 'destination-failed', /signal SIGKILL/],
    [
      'head -c 300000 >/dev/null',
      'connection-lost',
      /stopped reading before the end of the stream: found E[A-Z_]+ \(write\)/,
    ],
    ['no-such-command-at-all', 'destination-failed', /exit code 127.*not found/],
  ];
  for (const [command, code, message] of cases) {
    const channel = await write(`exec:${command}`);
    await assert.rejects(writeUntilFailure(channel), { code, message }, command);
  }
});

test('exec: a command that has read what it wants may end before the close', async () => {
  const channel = await write('exec:head -c 1000 > /dev/null');
  channel.write(new Uint8Array(1000));
  await channel.flushed();
  await delay(100);
  await channel.flushed();
  await channel.close();
  assert.equal(channel.bytesWritten, 1000);
});

test('exec: a command that fails at the end fails the close', async () => {
  const channel = await write('exec:cat > /dev/null; echo late >&2; exit 5');
  channel.write(new Uint8Array(1000));
  await channel.flushed();
  await assert.rejects(channel.close(), { code: 'destination-failed', message: /exit code 5.*late/ });
});

test('exec: what a command says is kept to its end and within a bound', async () => {
  const channel = await write('exec:head -c 1000000 /dev/zero | tr "\\0" x >&2; echo the end >&2; exit 1');
  const error = await channel.failed.catch((reason: Error) => reason);
  assert.match(error.message, /x{100}the end'/);
  assert.ok(error.message.length < 4096);
});

test('exec: a source whose command fails is no end of the stream', async () => {
  const channel = await read('exec:printf QEVM; echo broken >&2; exit 7');
  assert.equal(String(await channel.read()), 'QEVM');
  await assert.rejects(channel.read(), {
    code: 'connection-lost',
    message: /exit code 7.*broken.*byte 4 of main/,
  });

  const good = await read('exec:printf QEVM');
  assert.equal(String(await good.read()), 'QEVM');
  assert.equal(await good.read(), undefined);
  await good.close();
});

test('exec: destroy kills the whole group', async () => {
  const pids = ['a', 'b', 'c'].map((name) => join(directory, `pid-${name}`));
  const channel = await write(
    `exec:sleep 100 & echo $! > ${pids[0]}; (sh -c 'echo $$ > ${pids[1]}; exec sleep 100') & echo $$ > ${pids[2]}; wait`,
  );
  for (const path of pids) await exists(path);
  const flushed = channel.flushed();
  channel.write(new Uint8Array(16 * 1024 * 1024));
  const drained = channel.drained();
  const failure = new Error('over');
  const started = performance.now();
  channel.destroy(failure);
  await flushed;
  await assert.rejects(drained, failure);
  for (const path of pids) await gone(path);
  assert.ok(performance.now() - started < 1000);
});

test('exec: closing a command that is read ends it, and so does closing the listener', async () => {
  const first = join(directory, 'pid-1');
  const channel = await read(`exec:echo $$ > ${first}; printf QEVM; exec sleep 100`);
  assert.equal(String(await channel.read()), 'QEVM');
  await channel.close();
  await gone(first);

  const second = join(directory, 'pid-2');
  const options = { backlog: 1, firstBytesTimeoutMs: 1000 };
  const listener = await listen(parseUri(`exec:echo $$ > ${second}; exec sleep 100`), options);
  await exists(second);
  await listener.close();
  await gone(second);
});

test('fd: a pipe carries the stream one way', async () => {
  const path = join(directory, 'fifo');
  execFileSync('/bin/sh', ['-c', 'mkfifo "$0"', path]);
  const readEnd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writeEnd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  const reading = await read(`fd:${readEnd}`);
  const writing = await write(`fd:${writeEnd}`);
  assert.ok(!reading.duplex && !writing.duplex);
  const sent = randomBytes(1_000_000);
  writing.write(sent);
  const closing = writing.close();
  const received: Buffer[] = [];
  for (let chunk = await reading.read(); chunk !== undefined; chunk = await reading.read()) {
    received.push(Buffer.from(chunk));
  }
  await closing;
  assert.ok(Buffer.concat(received).equals(sent));
  await reading.close();
});

test('fd: a socket carries the stream and the answer', async () => {
  const script = `
    import { connect } from ${JSON.stringify(new URL('./connect.ts', import.meta.url).href)};
    const channel = await connect({ transport: 'fd', fd: 3 }, { timeoutMs: 1000 });
    channel.write(Buffer.from('QEVM' + channel.duplex));
    const answer = await channel.read();
    channel.write(answer);
    await channel.close();`;
  const child = spawn(process.execPath, ['--conditions=pageferry-src', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
  });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const peer = child.stdio[3] as Duplex;
  let text = '';
  peer.on('data', (chunk) => {
    text += chunk;
    if (text === 'QEVMtrue') peer.write('answer');
  });
  await new Promise((resolve) => peer.once('end', resolve));
  peer.end();
  assert.equal(text, 'QEVMtrueanswer');
  assert.equal(await exited, 0);
});
