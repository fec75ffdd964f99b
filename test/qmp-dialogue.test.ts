import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { Qemu } from './lib/qemu.ts';
import { qemuTest } from './lib/qemu-test.ts';
import { Served } from './lib/served.ts';

/**
 * Requests as they stand, good and bad ones, for a QEMU and for `pageferry serve`: the answers must have the same form,
 * that is the same `id`, and the same result or the same class of error.
 */

type Request = string | Buffer;

const BEFORE_NEGOTIATION: readonly Request[] = [
  '{"execute": "query-status"}',
  '{"execute": "no-such", "id": 1}',
  '{"exec-oob": "migrate-pause"}',
  '{"execute": "qmp_capabilities", "arguments": {"enable": ["no-such"]}}',
  '{"execute": "qmp_capabilities", "arguments": {"no-such": 1}, "id": "x"}',
  '{"execute": "qmp_capabilities", "arguments": {"enable": 1}}',
  'rubbish\n',
  '[1]',
  '"text"',
  '5 ',
  '{"no-such": 1}',
  '{"execute": 1, "id": 2}',
  '{"execute": "qmp_capabilities", "arguments": 3}',
  '{"execute": "qmp_capabilities", "arguments": {"enable": ["oob", "oob"]}, "id": {"a": [1, null, "é"]}}',
];

const AFTER_NEGOTIATION: readonly Request[] = [
  '{"execute": "qmp_capabilities"}',
  '{"execute": "query-status", "id": null}',
  "{'execute': 'query-status', 'id': 'single \"quotes\"'}",
  '{"execute": "query-status", "id": 9007199254740993}',
  '{"execute": "query-status", "arguments": {"x": 1}}',
  '{"execute": "query-status", "x": 1}',
  '{"exec-oob": "query-status", "id": 5}',
  '{"exec-oob": "migrate-pause", "id": 6}',
  '{"execute": "query-status", "exec-oob": "migrate-pause"}',
  '{"execute": "no-such"}',
  '{"execute": "query-name"}',
  '{"execute": "query-uuid"}',
  '{"execute": "query-migrate"}',
  '{"execute": "query-dirty-rate"}',
  '{"execute": "query-vcpu-dirty-limit"}',
  '{"execute": "cancel-vcpu-dirty-limit"}',
  '{"execute": "migrate"}',
  '{"execute": "migrate", "arguments": {"uri": 5}}',
  '{"execute": "migrate", "arguments": {"uri": "tcp:127.0.0.1:1", "resume": true}}',
  '{"execute": "migrate-continue", "arguments": {"state": "no-such"}}',
  '{"execute": "migrate-continue", "arguments": {"state": "active"}}',
  '{"execute": "migrate-pause"}',
  '{"execute": "migrate_cancel"}',
  '{"execute": "migrate-set-parameters", "arguments": {"no-such": 1}}',
  '{"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": 18446744073709551615}}',
  '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": [{"capability": "no-such", "state": true}]}}',
  '{"execute": "migrate-set-capabilities", "arguments": {}}',
  '{"execute": "calc-dirty-rate", "arguments": {"calc-time": 61}}',
  '{"execute": "announce-self"}',
  '{"execute": "announce-self", "arguments": {"initial": 1, "max": 1, "rounds": 1, "step": 1, "interfaces": ["x"]}}',
  '{"execute": "human-monitor-command", "arguments": {"command-line": "no-such"}}',
  '{"execute": "human-monitor-command"}',
  '}',
  Buffer.from([0x7b, 0x22, 0xff]),
  '{"execute": "query-events"}',
];

/** Gives one request after another. Returns for each what came: its form, not its texts. */
async function dialogue(path: string, requests: readonly Request[]): Promise<string[]> {
  const socket = connect(path);
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk;
  });
  const line = async (): Promise<string> => {
    while (!text.includes('\r\n')) await once(socket, 'data');
    const end = text.indexOf('\r\n');
    const found = text.slice(0, end);
    text = text.slice(end + 2);
    return found;
  };
  const { QMP: greeting } = JSON.parse(await line()) as { QMP: { capabilities: string[] } };
  const forms = [greeting.capabilities.join()];
  for (const request of requests) {
    socket.write(request);
    // An answer too many would be taken for the next one's.
    forms.push(`${request} -> ${formOf(await line())}`);
  }
  socket.destroy();
  return forms;
}

function formOf(line: string): string {
  assert.match(line, /^[\x20-\x7e]*$/, 'an answer is ASCII');
  const {
    id,
    error,
    return: value,
  } = JSON.parse(line) as {
    id?: unknown;
    error?: { class: string; desc: string };
    return?: unknown;
  };
  // The number itself is beyond what JSON.parse keeps.
  const echoed = id === undefined ? '' : ` id ${/"id": (\d{10,})/.exec(line)?.[1] ?? JSON.stringify(id)}`;
  if (error !== undefined) return `${error.class}${echoed}`;
  return `${Array.isArray(value) ? 'a list' : typeof value}${echoed}`;
}

for (const version of QEMU_VERSIONS) {
  qemuTest(
    version,
    `QEMU ${version} and pageferry: answers of the same form to the same requests`,
    async () => {
      await using served = await Served.start('--guest', 'builtin,size=16M', '--qemu-version', version);
      await using scratch = await Qemu.start({ version, paused: true });
      const path = join(scratch.folder, 'second');
      await using qemu = await Qemu.start({
        version,
        extraArgs: ['-qmp', `unix:${path},server=on,wait=off`],
      });
      assert.equal(qemu.version, version);
      const requests = [...BEFORE_NEGOTIATION, ...AFTER_NEGOTIATION];
      const ours = await dialogue(join(served.folder, 'qmp'), requests);
      const theirs = await dialogue(path, requests);
      // The one command that pageferry has in releases in which QEMU has it no more.
      assert.match(ours.pop()!, /query-events.*a list$/);
      assert.match(theirs.pop()!, /query-events.*CommandNotFound$/);
      assert.deepEqual(ours, theirs);
    },
  );
}
