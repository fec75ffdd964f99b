import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { Cli, type CliResult, jsonLines, lastEvent, runCli } from './lib/cli.ts';
import { assertRamMatches, findFixture, readConnection, readImage } from './lib/fixtures.ts';

/** `receive`, `send`, `inspect` and `extract` with a machine that a QEMU wrote. */

/** What takes longer than this hangs. */
const options = { timeout: 60_000 };
const fixture = findFixture('10.0/mapped-ram');
const folder = mkdtempSync(join(tmpdir(), 'pageferry-cli-'));
after(() => rmSync(folder, { recursive: true }));
const image = join(folder, 'qemu.img');
writeFileSync(image, readImage(fixture)!);

function errorCode(result: CliResult): string {
  const { event, error } = lastEvent(result);
  assert.equal(event, 'error');
  return (error as { code: string }).code;
}

async function extracted(file: string, block: string): Promise<Uint8Array> {
  const out = join(folder, `${block}.raw`);
  const result = await runCli('extract', file, '--block', block, '--out', out);
  assert.equal(result.code, 0, result.stderr);
  return readFileSync(out);
}

/** Sends `from` into a receiver that writes `name`; both with the same flags. */
async function move(from: string, name: string, receiveFlags: string[], flags: string[]): Promise<string> {
  const out = join(folder, name);
  const receiver = new Cli(['receive', 'tcp:127.0.0.1:0', '--out', out, '--json', ...receiveFlags, ...flags]);
  const { address } = await receiver.event('listening');
  assert.match(String(address), /^tcp:127\.0\.0\.1:\d+$/);
  const sent = await runCli('send', from, String(address), '--json', ...flags);
  const received = await receiver.finished();
  assert.equal(sent.code, 0, sent.stderr);
  assert.equal(received.code, 0, received.stderr);
  for (const result of [sent, received]) {
    const last = lastEvent(result);
    assert.equal(last.event, 'result');
    assert.equal(last.status, 'completed');
    assert.equal(last.returnPath, true);
  }
  assert.match(received.stderr, /postmigrate.*`cont`/);
  assert.equal(statSync(out).mode & 0o777, 0o600);
  return out;
}

test('a captured machine goes from file to file in every format, with the same RAM', options, async () => {
  const stream = await move(image, 'plain.img', ['--format', 'stream'], []);
  const flags = ['--multifd-channels', '2', '--multifd-compression', 'zstd'];
  const mapped = await move(stream, 'mapped.img', [], flags);
  for (const file of [stream, mapped]) {
    for (const idstr of Object.keys(fixture.expected_ram)) {
      assertRamMatches(fixture, idstr, await extracted(file, idstr));
    }
  }
  const reports = await Promise.all([image, stream, mapped].map((file) => runCli('inspect', file, '--json')));
  const machines = reports.map((result) => {
    const { devices } = lastEvent(result).report as { devices: { idstr: string; bytes: number }[] };
    return devices.map(({ idstr, bytes }) => `${idstr} ${bytes}`);
  });
  assert.deepEqual(machines[1], machines[0]);
  assert.deepEqual(machines[2], machines[0]);
});

test('send writes a mapped-ram file, with as many threads as channels', options, async () => {
  const stream = await move(image, 'for-mapped.img', ['--format', 'stream'], []);
  for (const [name, flags, channels] of [
    ['one.img', [], 1],
    ['three.img', ['--multifd-channels', '3'], 3],
  ] as const) {
    const out = join(folder, name);
    const sent = await runCli(
      'send',
      stream,
      `file:${out}`,
      '--capability',
      'mapped-ram',
      ...flags,
      '--json',
    );
    assert.equal(sent.code, 0, sent.stderr);
    const last = lastEvent(sent);
    assert.equal(last.status, 'completed');
    assert.equal((last.channels as unknown[]).length, channels);
    const report = lastEvent(await runCli('inspect', out, '--json')).report as { format: string };
    assert.equal(report.format, 'mapped-ram');
    for (const idstr of Object.keys(fixture.expected_ram)) {
      assertRamMatches(fixture, idstr, await extracted(out, idstr));
    }
  }
});

test('inspect describes a file for people', options, async () => {
  const { code, stdout, stderr } = await runCli('inspect', image, '--devices');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^format +mapped-ram$/m);
  assert.match(stdout, /^machine +pc-i440fx-10\.0$/m);
  assert.match(stdout, /^ +pc\.ram +16,777,216 +4,096 /m);
  assert.match(stdout, /serial/);
  assert.match(stdout, /^Loads in QEMU 10\.0 and later/m);
  assert.match(stdout, /qemu-system-x86_64 -machine \S*pc-i440fx-10\.0/);
});

test('inspect shows a cut file up to the damage, and where that is', options, async () => {
  const whole = readConnection(findFixture('10.0/precopy'), 0);
  const cut = join(folder, 'cut.img');
  writeFileSync(cut, whole.subarray(0, 100_000));
  const forPeople = await runCli('inspect', cut);
  assert.equal(forPeople.code, 1);
  assert.match(forPeople.stdout, /pc\.ram/);
  assert.match(forPeople.stderr, /^pageferry: .*at byte \d+ of .*cut\.img\)\n$/);
  const forMachines = await runCli('inspect', cut, '--json');
  assert.equal(forMachines.code, 1);
  const events = jsonLines(forMachines.stdout);
  assert.deepEqual(
    events.map(({ event }) => event),
    ['report', 'error'],
  );
  assert.equal(errorCode(forMachines), 'truncated');
});

test('what is no capture is refused', options, async () => {
  const text = join(folder, 'text');
  writeFileSync(text, 'this is not the stream that you are looking for');
  for (const [args, code] of [
    [['inspect', text], 'bad-magic'],
    [['inspect', join(folder, 'nowhere')], 'file-failed'],
    [['send', text, 'tcp:127.0.0.1:1'], 'bad-magic'],
    [['extract', image, '--block', 'nothing', '--out', join(folder, 'x')], 'unknown-block'],
  ] as const) {
    const result = await runCli(...args, '--json');
    assert.equal(result.code, 1, args.join(' '));
    assert.equal(errorCode(result), code, args.join(' '));
  }
});

test('nobody at the other end is an error with a code', options, async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  const result = await runCli('send', image, `tcp:127.0.0.1:${port}`, '--json');
  assert.equal(result.code, 1);
  assert.equal(errorCode(result), 'connect-failed');
  const bad = await runCli('send', image, 'carrier-pigeon:home', '--json');
  assert.equal(bad.code, 2);
  assert.equal(errorCode(bad), 'bad-uri');
});

test('Ctrl-C ends a receiver that waits, within a second and without a file', options, async (t) => {
  const out = join(folder, 'never.img');
  const receiver = new Cli(['receive', 'tcp:127.0.0.1:0', '--out', out, '--json'], t);
  await receiver.event('listening');
  const before = performance.now();
  receiver.signal('SIGINT');
  const result = await receiver.finished();
  assert.equal(result.code, 130);
  assert.ok(performance.now() - before < 1000);
  assert.equal(errorCode(result), 'cancelled');
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('never')),
    [],
  );
});

test('Ctrl-C in the middle of a transfer ends both sides, and leaves no file', options, async (t) => {
  const out = join(folder, 'half.img');
  const receiver = new Cli(['receive', 'tcp:127.0.0.1:0', '--out', out, '--json'], t);
  const { address } = await receiver.event('listening');
  const sender = new Cli(['send', image, String(address), '--max-bandwidth', '64k', '--json'], t);
  await receiver.event('progress', ({ status }) => status === 'active');
  const before = performance.now();
  sender.signal('SIGINT');
  const sent = await sender.finished();
  assert.equal(sent.code, 130);
  assert.ok(performance.now() - before < 1000);
  assert.equal(errorCode(sent), 'cancelled');
  const received = await receiver.finished();
  assert.equal(received.code, 1);
  assert.match(errorCode(received), /^(truncated|connection-lost)$/);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('half')),
    [],
  );
});

test('a UUID goes with the guest, and another one is refused', options, async (t) => {
  const uuid = '6ba7b810-9dad-11d1-80b4-00c04fd430c8';
  // In the configuration section, or in the handshakes of the page channels.
  for (const [expected, name, ...multifd] of [
    [uuid, 'same.img', '--json'],
    [uuid.replace('6', '7'), 'other.img', '--json'],
    [uuid, 'same-multifd.img', '--multifd-channels', '1', '--json'],
    [uuid.replace('6', '7'), 'other-multifd.img', '--multifd-channels', '1', '--json'],
  ] as const) {
    const out = join(folder, name);
    const receiver = new Cli(['receive', 'tcp:127.0.0.1:0', '--out', out, '--uuid', expected, ...multifd], t);
    const { address } = await receiver.event('listening');
    const sent = await runCli('send', image, String(address), '--uuid', uuid, ...multifd);
    const received = await receiver.finished();
    if (expected === uuid) {
      assert.equal(received.code, 0, received.stderr);
      assert.match((await runCli('inspect', out)).stdout, new RegExp(`^uuid +${uuid}$`, 'm'));
    } else {
      assert.equal(sent.code, 1);
      assert.equal(received.code, 1);
      assert.equal(errorCode(received), 'uuid-mismatch');
    }
  }
});

test('send pauses before the switch-over until a line comes', options, async (t) => {
  const out = join(folder, 'paused.img');
  const receiver = new Cli(['receive', 'tcp:127.0.0.1:0', '--out', out, '--json'], t);
  const { address } = await receiver.event('listening');
  const pause = ['--capability', 'pause-before-switchover'];
  const sender = new Cli(['send', image, String(address), '--json', ...pause], t);
  await sender.event('pre-switchover');
  await sender.event('progress', ({ status }) => status === 'pre-switchover');
  assert.deepEqual(
    readdirSync(folder).filter((name) => name === 'paused.img'),
    [],
  );
  sender.type('\n');
  const sent = await sender.finished();
  assert.equal(sent.code, 0, sent.stderr);
  assert.equal(lastEvent(sent).status, 'completed');
  assert.equal((await receiver.finished()).code, 0);
});

test('send pauses before the switch-over, and is cancelled when nobody is there', options, async (t) => {
  const out = join(folder, 'alone.img');
  const receiver = new Cli(['receive', 'tcp:127.0.0.1:0', '--out', out, '--json'], t);
  const { address } = await receiver.event('listening');
  const pause = ['--capability', 'pause-before-switchover'];
  const sender = new Cli(['send', image, String(address), '--json', ...pause], t);
  sender.type();
  const sent = await sender.finished();
  assert.equal(sent.code, 1);
  assert.equal(errorCode(sent), 'cancelled');
  assert.match(sent.stderr, /standard input has ended/);
  assert.equal((await receiver.finished()).code, 1);
});
