import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import type { ByteChannel } from './byte-channel.ts';
import { connect } from './connect.ts';
import { listen } from './listen.ts';
import { parseUri } from './uri.ts';

const directory = mkdtempSync(join(tmpdir(), 'pageferry-file-'));
const descriptors = openDescriptors();
after(() => {
  assert.equal(openDescriptors(), descriptors, 'no descriptor is left open');
  rmSync(directory, { recursive: true });
});

function openDescriptors(): number {
  let open = 0;
  for (let fd = 0; fd < 100; fd++) {
    try {
      fstatSync(fd);
      open++;
    } catch {}
  }
  return open;
}

function write(uri: string): Promise<ByteChannel> {
  return connect(parseUri(uri), { timeoutMs: 2000 });
}

async function read(uri: string): Promise<ByteChannel> {
  const listener = await listen(parseUri(uri), { backlog: 1, firstBytesTimeoutMs: 1000 });
  assert.equal(listener.address, uri);
  const accepted = await listener.accept();
  assert.ok(accepted.kind === 'main');
  return accepted.channel;
}

async function readAll(channel: ByteChannel): Promise<string> {
  const hash = createHash('sha256');
  for (let chunk = await channel.read(); chunk !== undefined; chunk = await channel.read())
    hash.update(chunk);
  return hash.digest('hex');
}

test('a file is created, cut at the offset, written from there, and read back', async () => {
  const path = join(directory, 'stream');
  writeFileSync(path, 'h'.repeat(100));
  const uri = `file:${path},offset=40`;
  const channel = await write(uri);
  assert.equal(channel.duplex, false);
  assert.equal(statSync(path).size, 40);
  const memory = new Uint8Array(new SharedArrayBuffer(5 * 1024 * 1024));
  memory.set(randomBytes(memory.byteLength));
  let waits = 0;
  for (let at = 0, size = 1; at < memory.byteLength; at += size, size = 1 + ((size * 7919) % 200_000)) {
    if (!channel.write(memory.subarray(at, at + size))) {
      waits++;
      await channel.drained();
    }
  }
  await channel.flushed();
  await channel.close();
  assert.ok(waits > 0);
  assert.equal(channel.bytesWritten, memory.byteLength);
  const content = readFileSync(path);
  assert.equal(String(content.subarray(0, 40)), 'h'.repeat(40));
  assert.ok(content.subarray(40).equals(memory));

  const back = await read(uri);
  assert.equal(await readAll(back), createHash('sha256').update(memory).digest('hex'));
  assert.equal(back.bytesRead, memory.byteLength);
  assert.equal(await back.read(), undefined);
  await back.close();
});

test('a new file is readable by its owner only, and closing flushes', async () => {
  const path = join(directory, 'new');
  const channel = await write(`file:${path}`);
  channel.write(Buffer.from('guest'));
  await channel.close();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(readFileSync(path, 'utf8'), 'guest');
});

test('a chunk stays valid while the next piece is read ahead', async () => {
  const path = join(directory, 'ahead');
  const content = randomBytes(3 * 1024 * 1024);
  writeFileSync(path, content);
  const channel = await read(`file:${path}`);
  let at = 0;
  for (let chunk = await channel.read(); chunk !== undefined; chunk = await channel.read()) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(content.subarray(at, at + chunk.byteLength).equals(chunk));
    at += chunk.byteLength;
  }
  assert.equal(at, content.byteLength);
  await channel.close();
});

test('an offset behind the end of a file gives its end', async () => {
  const path = join(directory, 'short');
  writeFileSync(path, 'abc');
  const channel = await read(`file:${path},offset=10`);
  assert.equal(await channel.read(), undefined);
  await channel.close();
});

test('files that cannot be opened are refused with the reason', async () => {
  const fifo = join(directory, 'fifo');
  execFileSync('/bin/sh', ['-c', 'mkfifo "$0"', fifo]);
  const reasons: [() => Promise<unknown>, RegExp][] = [
    [() => read(`file:${directory}/none`), /opened to read: found ENOENT \(of .*none\)/],
    [() => read(`file:${directory}`), /not a regular file/],
    [() => read(`file:${fifo}`), /not a regular file/],
    // Without a reader; the one before may still be closing.
    [() => write(`file:${fifo}`), /ENXIO|not a regular file/],
    [() => write(`file:${directory}`), /EISDIR/],
    [() => write(`file:${directory}/none/file`), /ENOENT/],
    [() => write('file:/dev/full'), /not a regular file/],
  ];
  for (const [open, message] of reasons) await assert.rejects(open(), { code: 'file-failed', message });
});

test('a full device is reported with the byte, and its descriptor is closed', async () => {
  const fd = openSync('/dev/full', 'w');
  const channel = await write(`fd:${fd}`);
  channel.write(new Uint8Array(100));
  await assert.rejects(channel.flushed(), { code: 'file-failed', message: /ENOSPC/, channel: `fd:${fd}` });
  await assert.rejects(channel.failed, { code: 'file-failed' });
  await assert.rejects(channel.close(), { code: 'file-failed' });
  assert.equal(channel.write(new Uint8Array(1)), false);
});

test('destroy rejects what is pending and closes the descriptor once the kernel is done with it', async () => {
  const path = join(directory, 'destroyed');
  const channel = await write(`file:${path}`);
  channel.write(new Uint8Array(32 * 1024 * 1024));
  const flushed = channel.flushed();
  const failure = new Error('over');
  channel.destroy(failure);
  await assert.rejects(flushed, failure);
  await assert.rejects(channel.close(), failure);

  const reading = await read(`file:${path}`);
  const pending = reading.read();
  reading.destroy(failure);
  await assert.rejects(pending, failure);
  await assert.rejects(reading.read(), failure);
  await new Promise((resolve) => setTimeout(resolve, 50));
});

test('one direction only', async () => {
  const path = join(directory, 'direction');
  const writing = await write(`file:${path}`);
  await assert.rejects(writing.read(), { code: 'internal' });
  await writing.close();
  assert.throws(() => writing.write(new Uint8Array(1)), { code: 'internal' });
  const reading = await read(`file:${path}`);
  assert.throws(() => reading.write(new Uint8Array(1)), { code: 'internal' });
  await reading.close();
});

test('a file that nobody accepts is closed with its listener', async () => {
  const path = join(directory, 'unasked');
  writeFileSync(path, 'x');
  const open = openDescriptors();
  const listener = await listen(parseUri(`file:${path}`), { backlog: 1, firstBytesTimeoutMs: 1000 });
  await listener.close();
  await assert.rejects(listener.accept(), { code: 'cancelled' });
  for (let i = 0; i < 50 && openDescriptors() !== open; i++)
    await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(openDescriptors(), open);
});

test('a second accept waits until the listener is closed, which leaves the accepted channel alone', async () => {
  const path = join(directory, 'second');
  writeFileSync(path, 'x');
  const listener = await listen(parseUri(`file:${path}`), { backlog: 1, firstBytesTimeoutMs: 1000 });
  const accepted = await listener.accept();
  assert.ok(accepted.kind === 'main');
  const second = listener.accept();
  const pending = new Promise((resolve) => setTimeout(resolve, 20, 'pending'));
  assert.equal(await Promise.race([second, pending]), 'pending');
  await listener.close();
  await assert.rejects(second, { code: 'cancelled' });
  assert.equal(String(await accepted.channel.read()), 'x');
  await accepted.channel.close();
});

test('fd: a file is written and read from the position of its descriptor', async () => {
  const path = join(directory, 'inherited');
  writeFileSync(path, '0123456789');
  const channel = await write(`fd:${openSync(path, 'a')}`);
  channel.write(Buffer.from('abc'));
  channel.write(Buffer.from('def'));
  await channel.close();
  assert.equal(readFileSync(path, 'utf8'), '0123456789abcdef');
  const reading = await read(`fd:${openSync(path, 'r')}`);
  assert.equal(String(await reading.read()), '0123456789abcdef');
  assert.equal(await reading.read(), undefined);
  await reading.close();
});

test('fd: what is not open, a directory', async () => {
  await assert.rejects(write('fd:999'), { code: 'connect-failed', message: /EBADF/ });
  await assert.rejects(read('fd:999'), { code: 'listen-failed', message: /EBADF/ });
  const fd = openSync(directory, 'r');
  await assert.rejects(read(`fd:${fd}`), { code: 'listen-failed', message: /directory/ });
  closeSync(fd);
});
