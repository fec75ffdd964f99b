import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { Cli, type CliResult, lastEvent, runCli } from './lib/cli.ts';
import { findFixture, readConnection } from './lib/fixtures.ts';

/** The flags of `send` and `receive` that decide about the stream as a whole. */

const options = { timeout: 60_000 };
const folder = mkdtempSync(join(tmpdir(), 'pageferry-flags-'));
after(() => rmSync(folder, { recursive: true }));

function place(path: string): string {
  const file = join(folder, path.replace('/', '-'));
  writeFileSync(file, readConnection(findFixture(path), 0));
  return file;
}

/** Sends a file to a receiver, each with its flags. */
async function move(file: string, receiveFlags: string[], sendFlags: string[]) {
  const out = join(folder, 'out');
  const receiver = new Cli(['receive', 'tcp:127.0.0.1:0', '--out', out, '--json', ...receiveFlags]);
  const { address } = await receiver.event('listening');
  const sent = await runCli('send', file, String(address), '--json', ...sendFlags);
  return { out, sent, received: await receiver.finished() };
}

const codeOf = (result: CliResult) => (lastEvent(result).error as { code: string } | undefined)?.code;

test('a stream without configuration and footers needs the machine at the other end', options, async () => {
  const file = place('7.2/precopy');
  const bare = ['--send-configuration', 'off', '--send-section-footer', 'off'];
  const machine = ['--machine', 'pc-i440fx-7.2'];
  const { out, sent, received } = await move(file, [...machine, ...bare], bare);
  assert.equal(sent.code, 0, sent.stderr);
  assert.equal(received.code, 0, received.stderr);
  assert.match((await runCli('inspect', out)).stdout, /pc-i440fx-7\.2/);

  const nameless = await move(file, [], bare);
  assert.equal(codeOf(nameless.received), 'bad-configuration');
  assert.equal(nameless.sent.code, 1);
  const strict = await move(file, ['--send-section-footer'], ['--send-section-footer', 'off']);
  assert.equal(codeOf(strict.received), 'bad-section');
  const other = await move(file, ['--machine', 'pc-i440fx-2.3'], []);
  assert.equal(codeOf(other.received), 'bad-configuration');
});

test('without the run state, and without a vmdescription', options, async () => {
  const file = place('7.2/precopy');
  const { out, sent, received } = await move(file, [], ['--store-global-state', 'off']);
  assert.equal(sent.code, 0, sent.stderr);
  assert.equal(received.code, 0, received.stderr);
  assert.ok(!(await runCli('inspect', out, '--devices')).stdout.includes('globalstate'));
  const suppressed = ['--suppress-vmdesc', '--capability', 'return-path=off'];
  const bare = await move(file, [], suppressed);
  assert.equal(bare.received.code, 0, bare.received.stderr);
  assert.ok((await runCli('inspect', out, '--devices')).stdout.includes('globalstate'));
});

test('x-ignore-shared: what was shared is told, and the rest goes on', options, async () => {
  const file = place('10.0/ignore-shared');
  const on = ['--capability', 'x-ignore-shared'];
  const { received, sent, out } = await move(file, [...on, '--format', 'stream'], on);
  assert.equal(sent.code, 0, sent.stderr);
  assert.equal(received.code, 0, received.stderr);
  assert.match(received.stderr, /Without pc\.ram, which is shared memory/);
  assert.match((await runCli('inspect', out)).stdout, /x-ignore-shared/);

  const without = await runCli('send', file, 'tcp:127.0.0.1:1', '--json');
  assert.equal(codeOf(without), 'bad-option');
  const pathless = await runCli('send', file, 'tcp:127.0.0.1:1', '--json', '--mem-path', 'pc.ram=x');
  assert.equal(codeOf(pathless), 'bad-option');
  const ram = join(folder, 'ram');
  writeFileSync(ram, Buffer.alloc(16 << 20, 7));
  const whole = await move(file, [...on, '--mem-path', `pc.ram=${ram}`], on);
  assert.equal(whole.received.code, 0, whole.received.stderr);
  const raw = join(folder, 'raw');
  assert.equal((await runCli('extract', whole.out, '--block', 'pc.ram', '--out', raw)).code, 0);
  assert.ok(readFileSync(raw).equals(readFileSync(ram)));

  const mapped = await runCli('receive', 'tcp:127.0.0.1:0', '--out', out, '--json', ...on);
  assert.equal(codeOf(mapped), 'bad-option');
  assert.match(mapped.stderr, /needs --format stream/);
});

test('switchover-ack belongs to guests that run', options, async () => {
  const { code, stderr } = await runCli('send', 'x', 'tcp:127.0.0.1:1', '--capability', 'switchover-ack');
  assert.equal(code, 2);
  assert.match(stderr, /switchover-ack holds back the stop of a guest that runs/);
});

test('what needs a guest that runs is refused for a captured one', options, async () => {
  for (const capability of ['auto-converge', 'dirty-limit', 'xbzrle']) {
    const { code, stderr } = await runCli('send', 'a.img', 'file:b.img', '--capability', capability);
    assert.equal(code, 2, stderr);
    assert.match(stderr, new RegExp(`Capability ${capability} .*captur`));
  }
});
