import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationSettings, type QemuVersion } from '@pageferry/core/control/schema';
import { type MigrationInfo, type QmpCommands, QmpError } from '@pageferry/core/qmp';
import { QEMU_VERSIONS } from '../../../../test/lib/find-qemus.ts';
import { askHmp, type HmpAnswers, recordedHmp } from '../../../../test/lib/hmp-questions.ts';
import { Qemu } from '../../../../test/lib/qemu.ts';
import { qemuTest } from '../../../../test/lib/qemu-test.ts';
import { type HmpMonitor, runHmp } from './hmp.ts';
import { machineGlobals } from './hmp-globals.ts';

type Answers = { [C in keyof QmpCommands]?: QmpCommands[C]['return'] | QmpError };

/** A monitor that keeps settings, answers what it is told to, and notes what was asked. */
function monitor(version: QemuVersion, answers: Answers = {}, machine = `pc-i440fx-${version}`) {
  const settings = new MigrationSettings({ side: 'source', version });
  const asked: [string, unknown][] = [];
  const execute = async (command: keyof QmpCommands, args: Record<string, unknown>): Promise<unknown> => {
    if (command === 'migrate-set-parameters') return settings.setParameters(args);
    if (command === 'query-migrate-parameters') return settings.queryParameters();
    if (command === 'query-migrate-capabilities') return settings.queryCapabilities();
    asked.push([command, args]);
    const answer = answers[command];
    if (answer instanceof QmpError) throw answer;
    return answer ?? {};
  };
  const hmp: HmpMonitor = {
    version,
    globals: machineGlobals(machine),
    execute: execute as HmpMonitor['execute'],
  };
  return { settings, asked, run: (line: string) => runHmp(line, hmp) };
}

async function checkMigration(version: QemuVersion, info: unknown, text: string): Promise<void> {
  const { run } = monitor(version, { 'query-migrate': info as MigrationInfo });
  assert.equal(await run('info migrate'), text);
}

async function checkSettings(version: QemuVersion, answers: HmpAnswers): Promise<void> {
  const { run } = monitor(version);
  assert.equal(await run('info migrate_parameters'), answers.parameters.text);
  assert.equal(await run('info migrate_capabilities'), answers.capabilities.text);
}

async function checkValues(version: QemuVersion, answers: HmpAnswers): Promise<void> {
  for (const { name, text, value } of answers.values) {
    const { run, settings } = monitor(version);
    const line = `migrate_set_parameter ${name} ${text}`;
    const said = await run(line).catch((error) => {
      // A real monitor makes an answer of it.
      assert.ok(error.code === 'bad-option' || error.code === 'unsupported', `${line}: ${error}`);
      return error.code as string;
    });
    if (said === 'unsupported') assert.notEqual(value, null, line);
    else if (value === null) assert.notEqual(said, '', line);
    else assert.deepEqual(settings.valueOf(name as 'mode'), value, line);
  }
}

for (const version of QEMU_VERSIONS) {
  const recorded = recordedHmp(version);

  for (const { when, info, text } of recorded.migrations) {
    test(`QEMU ${version}: info migrate, ${when}`, () => checkMigration(version, info, text));
  }

  test(`QEMU ${version}: parameters and capabilities`, () => checkSettings(version, recorded));

  test(`QEMU ${version}: values as they are typed`, () => checkValues(version, recorded));

  qemuTest(version, `QEMU ${version}: all of that beside a live one`, async () => {
    const live = await askHmp(version);
    for (const { info, text } of live.migrations) await checkMigration(version, info, text);
    await checkSettings(version, live);
    await checkValues(version, live);
  });
}

for (const [version, machine] of [
  ['7.2', 'pc-i440fx-2.3'],
  ['7.2', 'pc-i440fx-2.4'],
  ['7.2', 'pc-i440fx-3.0'],
  ['10.0', 'pc-i440fx-2.4'],
  ['10.0', 'pc-i440fx-9.2'],
] as const) {
  qemuTest(version, `QEMU ${version}: globals of ${machine}`, async () => {
    await using qemu = await Qemu.start({ version, machine, paused: true });
    const live = await qemu.qmp.execute('human-monitor-command', { 'command-line': 'info migrate' });
    assert.equal(await monitor(version, {}, machine).run('info migrate'), live);
  });
}

test('commands become those of QMP', async () => {
  const { run, asked } = monitor('7.2');
  assert.equal(await run('migrate -d tcp:a:1'), '');
  assert.match(await run('migrate -r "unix:/a b"'), /goes on in the background\r\n$/);
  for (const line of ['migrate_cancel', 'migrate_continue pre-switchover', ' migrate_incoming  tcp:b:2 ']) {
    assert.equal(await run(line), '');
  }
  await run('migrate_set_capability xbzrle on');
  await run('announce_self');
  await run('announce_self a,b nic');
  await run('calc_dirty_rate -r 5');
  await run('calc_dirty_rate 1 100');
  await run('set_vcpu_dirty_limit 10 1');
  await run('cancel_vcpu_dirty_limit');
  const announcement = { initial: 50, max: 550, rounds: 5, step: 100 };
  assert.deepEqual(asked, [
    ['migrate', { uri: 'tcp:a:1' }],
    ['migrate', { uri: 'unix:/a b', resume: true }],
    ['migrate_cancel', {}],
    ['migrate-continue', { state: 'pre-switchover' }],
    ['migrate-incoming', { uri: 'tcp:b:2' }],
    ['migrate-set-capabilities', { capabilities: [{ capability: 'xbzrle', state: true }] }],
    ['announce-self', announcement],
    ['announce-self', { ...announcement, interfaces: ['a', 'b'], id: 'nic' }],
    ['calc-dirty-rate', { 'calc-time': 5, mode: 'dirty-ring' }],
    ['calc-dirty-rate', { 'calc-time': 1, 'sample-pages': 100, mode: 'page-sampling' }],
    ['set-vcpu-dirty-limit', { 'dirty-rate': 10, 'cpu-index': 1 }],
    ['cancel-vcpu-dirty-limit', {}],
  ]);
});

test('what goes wrong is told in one line, and nothing was asked', async () => {
  const { run, asked } = monitor('10.0');
  const lines: [string, RegExp][] = [
    ['nope', /^unknown command: 'nope'/],
    ['info nope', /^unknown command: 'info nope'/],
    ['info toString', /^unknown command/],
    ['migrate', /^migrate: uri is missing/],
    ['migrate -x tcp:a:1', /^migrate: -x is not known/],
    ['migrate_cancel now', /^migrate_cancel: nothing is expected behind it: now/],
    ['migrate_set_capability xbzrle maybe', /found "maybe", expected on or off/],
    ['migrate "tcp:a', /a quote does not end: "tcp:a/],
    ['info migrate -a', /-a is not known/],
    ['calc_dirty_rate soon', /^second: found "soon"/],
  ];
  for (const [line, message] of lines) {
    assert.match(await run(line), message, line);
    assert.match(await run(line), /^[^\r\n]+\r\n$/, line);
  }
  assert.equal(await run('  '), '');
  assert.deepEqual(
    asked.filter(([command]) => command !== 'query-migrate'),
    [],
  );
});

test('the error of a QMP command', async () => {
  const { run } = monitor('10.0', { migrate: new QmpError('this guest cannot move') });
  assert.equal(await run('migrate -d tcp:a:1'), 'Error: this guest cannot move\r\n');
});

test('other things to know', async () => {
  const { run } = monitor('10.0', {
    'query-status': { status: 'paused', running: false },
    'query-name': { name: 'x' },
    'query-uuid': { UUID: '00000000-0000-0000-0000-000000000001' },
    'query-version': { qemu: { major: 10, minor: 0, micro: 3 }, package: ' (p)' },
    'query-vcpu-dirty-limit': [{ 'cpu-index': 0, 'limit-rate': 5, 'current-rate': 3 }],
    'query-dirty-rate': {
      ...{ status: 'measured', 'start-time': 9, 'calc-time': 1, 'sample-pages': 512 },
      ...{ mode: 'page-sampling', 'dirty-rate': 2 },
    },
  });
  assert.equal(await run('info status'), 'VM status: paused\r\n');
  assert.equal(await run('info name'), 'x\r\n');
  assert.equal(await run('info uuid'), '00000000-0000-0000-0000-000000000001\r\n');
  assert.equal(await run('info version'), '10.0.3 (p)\r\n');
  assert.equal(await run('info vcpu_dirty_limit'), 'vcpu[0], limit rate 5 (MB/s), current rate 3 (MB/s)\r\n');
  // As QEMU 10.0 shows the same answer.
  assert.equal(
    await run('info dirty_rate'),
    'Status: measured\r\nStart Time: 9 (ms)\r\nSample Pages: 512 (per GB)\r\nPeriod: 1 (sec)\r\n' +
      'Mode: page-sampling\r\nDirty rate: 2 (MB/s)\r\n',
  );
  assert.match(await run('help'), /^migrate \[-d\] \[-b\] \[-i\] \[-r\] uri\r\n/);
});

test('from 10.1 on info migrate comes in groups', async () => {
  const ram = {
    ...{
      'page-size': 4096,
      total: 17_000_000_000,
      transferred: 806_000_000,
      remaining: 1_186_000,
      skipped: 0,
    },
    ...{ 'precopy-bytes': 744, 'multifd-bytes': 11 * 2 ** 20, 'postcopy-bytes': 0, normal: 3, duplicate: 4 },
    ...{ 'normal-bytes': 12_288, mbps: 42.034, 'pages-per-second': 9, 'dirty-pages-rate': 5 },
    ...{
      'dirty-sync-count': 6,
      'postcopy-requests': 0,
      'downtime-bytes': 7,
      'dirty-sync-missed-zero-copy': 0,
    },
  };
  const { run } = monitor('10.2', {
    'query-migrate': {
      ...{ status: 'failed', 'error-desc': 'gone', 'total-time': 9, 'setup-time': 0, 'expected-downtime': 3 },
      ...{ ram, 'blocked-reasons': ['a device'], 'cpu-throttle-percentage': 20 },
      'socket-address': [{ type: 'inet', host: '::1', port: '4' }],
    },
  });
  const short = [
    'Outgoing migration blocked:',
    '  a device',
    'Status: \t\tfailed (gone)',
    'Time (ms): \t\ttotal=9, setup=0, exp_down=3',
    'Sockets: [',
    '\ttcp:[::1]:4',
    ']',
    'RAM info:',
    '  Throughput (Mbps): \t42.03',
    '  Sizes: \t\tpagesize=4 KiB, total=15.8 GiB',
    '  Transfers: \t\ttransferred=769 MiB, remain=1.13 MiB',
    '    Channels: \t\tprecopy=744 B, multifd=11 MiB, postcopy=0 B',
    '    Page Types: \tnormal=3, zero=4',
    '  Page Rates (pps): \ttransfer=9, dirty=5',
    '  Others: \t\tdirty_syncs=6, downtime_bytes=7',
  ];
  const globals = [
    'Globals:',
    '  store-global-state: on',
    '  only-migratable: off',
    '  send-configuration: on',
    '  send-section-footer: on',
    '  send-switchover-start: on',
    '  clear-bitmap-shift: 18',
  ];
  assert.equal(await run('info migrate'), [...short, ''].join('\r\n'));
  assert.equal(await run('info migrate -a'), [...short, ...globals, 'CPU Throttle (%): 20', ''].join('\r\n'));
});
