import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import test from 'node:test';
import { BlockingSocket, END, SocketError, takeDescriptor } from './blocking-socket.ts';
import { IoVector } from './io-vector.ts';
import { loadSystemCalls } from './system-calls.ts';

const calls = await loadSystemCalls();
const skip = calls === undefined ? 'no system calls on this platform' : false;

/** Both ends of a connection. @param limitBytes of the first one's send buffer */
async function pair(limitBytes?: number): Promise<[BlockingSocket, BlockingSocket]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const one = connect((server.address() as { port: number }).port, '127.0.0.1');
  const [other] = (await once(server, 'connection')) as [Socket];
  if (one.connecting) await once(one, 'connect');
  server.close();
  const fds = [one, other].map((socket) => takeDescriptor(calls!, socket)!);
  if (limitBytes !== undefined) calls!.limitSendBuffer(fds[0]!, limitBytes);
  const sockets = fds.map((fd) => new BlockingSocket(calls!, fd));
  return sockets as [BlockingSocket, BlockingSocket];
}

test('scattered pieces arrive in scattered places, whatever the kernel takes at once', { skip }, async () => {
  const [sender, receiver] = await pair();
  const bytes = 8 << 20;
  const source = Buffer.from(new SharedArrayBuffer(bytes));
  for (let i = 0; i < bytes; i += 4) source.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i);
  const target = Buffer.from(new SharedArrayBuffer(bytes));
  const from = calls!.addressOf(source);
  const to = calls!.addressOf(target);
  // Every second piece of 3 to 40000 bytes, at both ends cut differently.
  const out = new IoVector(calls!, 1024);
  for (let at = 0, i = 0; i < 300; i++) {
    const length = 3 + ((i * 7919) % 20000);
    out.add(from + at, length);
    at += 2 * length;
  }
  const total = out.bytes;
  const into = new IoVector(calls!, 1024);
  for (let at = 0; at < total; at += 5001) into.add(to + at, Math.min(5001, total - at));
  let received = 0;
  while (received < total) {
    if (out.bytes > 0) sender.send(out);
    const count = receiver.receiveNow(into);
    assert.notEqual(count, END);
    received += count;
    assert.equal(into.bytes, total - received);
  }
  for (let at = 0, placed = 0, i = 0; i < 300; i++) {
    const length = 3 + ((i * 7919) % 20000);
    assert.equal(source.compare(target, placed, placed + length, at, at + length), 0, `piece ${i}`);
    at += 2 * length;
    placed += length;
  }
  sender.close();
  receiver.close();
});

test('a limited send buffer takes less of what nobody receives', { skip }, async () => {
  const memory = new Uint8Array(new ArrayBuffer(32 << 20));
  const taken = async (limitBytes?: number): Promise<number> => {
    const [sender, receiver] = await pair(limitBytes);
    const out = new IoVector(calls!, 1);
    out.add(calls!.addressOf(memory), memory.length);
    while (sender.send(out) > 0);
    sender.close();
    receiver.close();
    return memory.length - out.bytes;
  };
  const limited = await taken(64 * 1024);
  const unlimited = await taken();
  assert.ok(limited > 0 && limited < unlimited / 2, `${limited} of ${unlimited}`);
});

test('the kernel tells what a connection did', { skip }, async () => {
  const [sender, receiver] = await pair();
  const progress = { busyMs: 0, arrivedBytes: 0 };
  assert.equal(sender.progress(progress), true);
  const before = { ...progress };
  const memory = new Uint8Array(new ArrayBuffer(100_000));
  const out = new IoVector(calls!, 1);
  out.add(calls!.addressOf(memory), memory.length);
  const into = new IoVector(calls!, 1);
  into.add(calls!.addressOf(memory), memory.length);
  for (let received = 0; received < memory.length; ) {
    if (out.bytes > 0) sender.send(out);
    received += receiver.receiveNow(into);
  }
  // An acknowledgement may come a little later than the bytes.
  for (let i = 0; i < 100 && progress.arrivedBytes < before.arrivedBytes + memory.length; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(sender.progress(progress), true);
  }
  assert.equal(progress.arrivedBytes - before.arrivedBytes, memory.length);
  assert.ok(progress.busyMs >= before.busyMs && progress.busyMs < 10_000, `${progress.busyMs} ms`);
  sender.close();
  receiver.close();
});

test('a receiver returns after a slice without bytes, and tells the end', { skip }, async () => {
  const [sender, receiver] = await pair();
  const memory = new Uint8Array(new ArrayBuffer(100));
  const vector = new IoVector(calls!, 1);
  vector.add(calls!.addressOf(memory), 100);
  assert.equal(receiver.receive(vector), 0);
  const five = new Uint8Array(new ArrayBuffer(100)).fill(7);
  const out = new IoVector(calls!, 1);
  out.add(calls!.addressOf(five), 5);
  assert.equal(sender.send(out), 5);
  sender.end();
  assert.equal(receiver.receive(vector), 5);
  assert.equal(vector.bytes, 95);
  assert.equal(receiver.receive(vector), END);
  assert.deepEqual([...memory.subarray(0, 6)], [7, 7, 7, 7, 7, 0]);
  sender.close();
  sender.close();
  receiver.close();
});

test('a peer that is gone is an error with its number', { skip }, async () => {
  const [sender, receiver] = await pair();
  receiver.close();
  const memory = new Uint8Array(new ArrayBuffer(1 << 20));
  const out = new IoVector(calls!, 1);
  assert.throws(
    () => {
      for (let i = 0; i < 100; i++) {
        out.clear();
        out.add(calls!.addressOf(memory), memory.length);
        while (out.bytes > 0) sender.send(out);
      }
    },
    (error) => error instanceof SocketError && /EPIPE|ECONNRESET/.test(error.message),
  );
  sender.close();
});
