import assert from 'node:assert/strict';
import test from 'node:test';
import type { MigrationEvent } from '../control/events.ts';
import { MigrationError } from '../error.ts';
import type { IncomingGuest } from '../guest/contract.ts';
import { assertSameRam, type Setup, setUp, statusesOf } from '../testing/migration-pair.ts';
import { deviceState } from '../testing/test-guests.ts';

const CASES: [string, Setup][] = [
  ['plain', {}],
  ['plain, legacy machine', { machine: 'pc-i440fx-7.2' }],
  ['plain, zero pages as pages', { options: { zeroPageDetection: 'none' } }],
  ['multifd', { options: { multifd: true } }],
  ['multifd, 3 channels', { options: { multifd: true, multifdChannels: 3 } }],
  [
    'multifd, machine 7.2: sync at each section end',
    { options: { multifd: true }, machine: 'pc-i440fx-7.2' },
  ],
  ['multifd, machine 8.2: zero pages on main', { options: { multifd: true }, machine: 'pc-q35-8.2' }],
];

for (const [name, setup] of CASES) {
  test(`${name}: a writing guest arrives whole`, async () => {
    const { guest, target, outgoing, incoming, events } = setUp(setup);
    let value = 1;
    const writer = setInterval(() => {
      for (let i = 0; i < 5; i++) guest.write(Math.floor(Math.random() * 300), value++ & 0xff);
    }, 1);
    const [sent, received] = await Promise.all([outgoing.run(), incoming.run()]);
    clearInterval(writer);
    assertSameRam(guest, target);
    assert.deepEqual(target.state, deviceState());
    assert.ok(target.started);
    assert.ok(!guest.control.running, 'the source stays stopped');
    assert.deepEqual(guest.calls, ['inactivate', 'save']);
    assert.deepEqual(statusesOf(events), ['setup', 'active', 'device', 'completed']);
    assert.equal(sent.returnPath, true);
    assert.equal(received.returnPath, true);
    assert.ok(sent.ram.normal >= 154, `${sent.ram.normal} normal pages`);
    const { normal, duplicate, 'precopy-bytes': precopy, 'downtime-bytes': downtime } = sent.ram;
    // A page goes behind a word, a zero page is a word and a byte, now and then there is a name, or a section's end.
    const { multifd = false } = setup.options ?? {};
    const onMain =
      (multifd ? 0 : normal * 4104) + (multifd && setup.machine === undefined ? 0 : duplicate * 9);
    const more = precopy + downtime - onMain;
    assert.ok(more >= 8 && more < 3000, `${precopy} + ${downtime} bytes of RAM, ${onMain} of pages`);
    assert.equal(sent.ram['multifd-bytes'] > 0, multifd);
    assert.equal(target.description?.configuration?.machine, guest.machine);
    // Only the handshakes of page channels carry it unasked.
    assert.deepEqual(target.description?.uuid, setup.options?.multifd ? guest.uuid : undefined);
  });
}

test('the machine version decides about sync mode, zero pages and SWITCHOVER_START', async () => {
  for (const [machine, expected] of [
    [
      'pc-i440fx-7.2',
      { flushAfterEachSection: true, zeroPageDetection: 'legacy', sendSwitchoverStart: false },
    ],
    ['pc-q35-8.1', { flushAfterEachSection: false, zeroPageDetection: 'legacy', sendSwitchoverStart: false }],
    [
      'pc-i440fx-9.2',
      { flushAfterEachSection: false, zeroPageDetection: 'multifd', sendSwitchoverStart: false },
    ],
    [
      'pc-i440fx-10.0',
      { flushAfterEachSection: false, zeroPageDetection: 'multifd', sendSwitchoverStart: true },
    ],
  ] as const) {
    const { outgoing, incoming, switches } = setUp({ machine, options: { multifd: true } });
    await Promise.all([outgoing.run(), incoming.run()]);
    const { sendConfiguration, sendSectionFooter, sendVmdesc, mappedRam, ...rest } = switches()!;
    assert.deepEqual(rest, expected, machine);
    assert.ok(sendConfiguration && sendSectionFooter && sendVmdesc && !mappedRam);
  }
});

test('a machine without a version is refused with multifd, and taken when told', async () => {
  const { outgoing, guest, incoming } = setUp({ machine: 'microvm', options: { multifd: true } });
  incoming.run().catch(() => {});
  await assert.rejects(outgoing.run(), { code: 'bad-option', message: /multifd-flush-after-each-section/ });
  assert.ok(guest.control.running);
  incoming.cancel();
  const told = setUp({ machine: 'microvm', options: { multifd: true, multifdFlushAfterEachSection: false } });
  await Promise.all([told.outgoing.run(), told.incoming.run()]);
  assertSameRam(told.guest, told.target);
});

test('an announcement that takes for ever keeps no guest from running', async () => {
  const { guest, target, outgoing, incoming } = setUp();
  const announced = Promise.withResolvers<void>();
  const announcing: IncomingGuest = target;
  announcing.announce = () => announced.promise;
  const received = incoming.run();
  await outgoing.run();
  for (const end = Date.now() + 5000; incoming.progress().status !== 'completed' && Date.now() < end; )
    await new Promise((resolve) => setTimeout(resolve, 1));
  assert.ok(target.started && !guest.control.running);
  announced.reject(new Error('no route'));
  const { warnings } = await received;
  assert.ok(warnings.includes('the guest was not announced: no route'), `${warnings}`);
});

test('a destination that cannot load the guest: SHUT 1, and the source runs on', async () => {
  const { guest, target, outgoing, incoming } = setUp();
  target.loadError = new MigrationError('file-failed', 'the disk is full');
  const received = assert.rejects(incoming.run(), { code: 'file-failed', phase: 'device' });
  await assert.rejects(outgoing.run(), { code: 'destination-failed', message: /SHUT 1/ });
  await received;
  assert.ok(guest.control.running);
  assert.deepEqual(guest.calls, ['inactivate', 'save', 'activate']);
  assert.ok(target.discarded && !target.started);
});

test('a connection that breaks anywhere leaves the guest running and no half-guest', async () => {
  const whole = setUp();
  await Promise.all([whole.outgoing.run(), whole.incoming.run()]);
  const total = whole.near.bytesWritten;
  for (let cut = 0; cut < 24; cut++) {
    const { guest, target, near, far, outgoing, incoming } = setUp();
    const at = Math.floor((total * cut) / 24);
    near.onWrite = (soFar) => {
      if (soFar < at) return;
      near.destroy(new MigrationError('connection-lost', 'cut', { channel: 'main', offset: soFar }));
      far.destroy(new MigrationError('connection-lost', 'cut', { channel: 'main', offset: soFar }));
    };
    const received = incoming.run().then(
      () => assert.fail('the destination took a cut stream'),
      (error) => assert.ok(['connection-lost', 'truncated'].includes(error.code), error.code),
    );
    await assert.rejects(outgoing.run(), (error: MigrationError) => {
      assert.ok(['connection-lost', 'destination-failed'].includes(error.code), error.code);
      return true;
    });
    await received;
    assert.ok(guest.control.running, `cut at ${at}`);
    assert.ok(target.discarded && !target.started);
  }
});

test('cancel takes effect while the peer reads nothing', async () => {
  const { guest, near, outgoing, incoming } = setUp();
  near.stuck = true;
  incoming.run().catch(() => {});
  const started = performance.now();
  setTimeout(() => outgoing.cancel(), 50);
  await assert.rejects(outgoing.run(), { code: 'cancelled' });
  assert.ok(performance.now() - started < 1000);
  assert.ok(guest.control.running);
  incoming.cancel();
});

test('a broken page channel fails the migration', async () => {
  const { guest, outgoing, incoming, pages } = setUp({
    options: { multifd: true, maxBandwidthBytesPerSecond: 200_000 },
  });
  incoming.run().catch(() => {});
  setTimeout(
    () => pages()!.breakWith(new MigrationError('bad-packet', 'broken', { channel: 'multifd 1' })),
    30,
  );
  await assert.rejects(outgoing.run(), { code: 'bad-packet', channel: 'multifd 1' });
  assert.ok(pages()!.aborted !== undefined);
  assert.ok(guest.control.running);
});

/** What happened, in order: the guest's calls, and the events but for the passes while it ran. */
function inOrder({ guest, outgoing, events }: ReturnType<typeof setUp>): string[] {
  const order: string[] = [];
  for (const call of ['inactivate', 'saveDeviceState', 'activate'] as const) {
    const original = guest[call].bind(guest);
    guest[call] = (() => {
      order.push(...told(events.splice(0)), call);
      return original();
    }) as never;
  }
  outgoing.run().catch(() => {});
  return order;
}

function told(events: readonly MigrationEvent[]): string[] {
  const words = events.map((event) => (event.event === 'MIGRATION' ? event.data.status : event.event));
  return words.slice(Math.max(0, words.lastIndexOf('active')));
}

test('disks are given up between the stop and the last pages, and taken back before the guest runs', async () => {
  const setup = setUp();
  setup.target.loadError = new Error('no');
  const order = inOrder(setup);
  await assert.rejects(setup.incoming.run());
  while (!setup.guest.control.running) await new Promise((resolve) => setTimeout(resolve, 1));
  order.push(...told(setup.events));
  const passes = order.filter((word) => word === 'MIGRATION_PASS').length;
  assert.ok(passes >= 1);
  assert.deepEqual(
    order.filter((word, i) => word !== 'MIGRATION_PASS' || order[i - 1] === 'inactivate'),
    [
      ...['active', 'STOP', 'device', 'inactivate', 'MIGRATION_PASS'],
      ...['saveDeviceState', 'failed', 'activate', 'RESUME'],
    ],
  );
});

test('disks that cannot be given up are taken back', async () => {
  const { guest, outgoing, incoming } = setUp();
  guest.inactivate = async () => {
    throw new Error('a write failed');
  };
  incoming.run().catch(() => {});
  await assert.rejects(outgoing.run(), { code: 'guest-failed', message: /disks: a write failed/ });
  assert.deepEqual(guest.calls, ['activate']);
  assert.ok(guest.control.running);
});

test('a guest that cannot take its disks back is not started', async () => {
  const { guest, target, outgoing, incoming, events } = setUp();
  target.loadError = new Error('no');
  guest.activate = async () => {
    throw new Error('the image is locked');
  };
  incoming.run().catch(() => {});
  const message = /SHUT 1.*; the guest could not take its disks back and stays stopped: the image is locked/;
  await assert.rejects(outgoing.run(), { code: 'destination-failed', message });
  assert.ok(!guest.control.running);
  assert.ok(!events.some(({ event }) => event === 'RESUME'));
  assert.match(outgoing.progress().errorDesc ?? '', message);
});

test('nothing moves: stall-timeout', async () => {
  const { guest, near, outgoing, incoming } = setUp({ options: { stallTimeoutMs: 100 } });
  near.stuck = true;
  incoming.run().catch(() => {});
  await assert.rejects(outgoing.run(), { code: 'stall-timeout' });
  assert.ok(guest.control.running);
  incoming.cancel();
});

test('without a return path the result says so', async () => {
  const { outgoing, incoming } = setUp({ duplex: false });
  const [sent, received] = await Promise.all([outgoing.run(), incoming.run()]);
  assert.equal(sent.returnPath, false);
  assert.match(sent.warnings[0]!, /no return path/);
  assert.equal(received.returnPath, false);
});

test('max-bandwidth is kept', async () => {
  const { outgoing, incoming } = setUp({
    options: { maxBandwidthBytesPerSecond: 2_000_000, zeroPageDetection: 'none' },
  });
  const started = performance.now();
  const [sent] = await Promise.all([outgoing.run(), incoming.run()]);
  const seconds = (performance.now() - started) / 1000;
  // 308 pages are 1.26 MB; the last bytes within the downtime limit are sent at full speed.
  assert.ok(seconds > 0.15, `${seconds} s for ${sent.ram.transferred} bytes`);
});

test('a cancel while the last bytes leave a transport without a return path: the guest is here', async () => {
  const { guest, near, outgoing, events } = setUp({ duplex: false });
  near.close = async () => {
    // The close is done, and the cancel comes before anybody has seen that.
    outgoing.cancel();
  };
  await assert.rejects(outgoing.run(), { code: 'cancelled' });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(outgoing.progress().status, 'cancelled');
  assert.deepEqual(statusesOf(events).slice(-3), ['device', 'cancelling', 'cancelled']);
  assert.ok(guest.control.running);
});

test('whatever fails when the destination has just said that it has the guest: it has it', async () => {
  const { guest, outgoing, incoming, near, events } = setUp({ options: { multifd: true } });
  const run = outgoing.run();
  const failing = incoming.run();
  // The source hears SHUT 0 in this read.
  const read = near.read.bind(near);
  near.read = async () => {
    const chunk = await read();
    const shut = chunk !== undefined && chunk.at(-1) === 0 && chunk.length >= 8;
    if (shut && Buffer.from(chunk).readUInt16BE(chunk.length - 8) === 1) outgoing.cancel();
    return chunk;
  };
  await Promise.all([run, failing]);
  assert.deepEqual(statusesOf(events).slice(-3), ['device', 'cancelling', 'completed']);
  assert.ok(!guest.control.running);
});
