import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type MigrateOptions, resolveMigrateOptions } from '../control/options.ts';
import type { DeviceState } from '../guest/contract.ts';
import { assertSameRam, setUp } from '../testing/migration-pair.ts';
import { deviceState, TestGuest, TestTarget } from '../testing/test-guests.ts';
import { concatBytes } from '../wire/byte-writer.ts';
import type { StreamMessage } from '../wire/messages.ts';
import { StreamDecoder } from '../wire/stream-decoder.ts';

/** Capabilities and machine properties that decide about the stream as a whole, from source to destination. */

/** A migration to its end, with the messages of its main stream. */
async function migrated(setup: Parameters<typeof setUp>[0] = {}) {
  const pair = setUp(setup);
  const sent: Uint8Array[] = [];
  const write = pair.near.write.bind(pair.near);
  pair.near.write = (bytes) => {
    sent.push(bytes.slice());
    return write(bytes);
  };
  const [result] = await Promise.all([pair.outgoing.run(), pair.incoming.run()]);
  const decoder = new StreamDecoder({ ignoreShared: setup.options?.ignoreShared });
  decoder.push(concatBytes(sent));
  decoder.end();
  const messages: StreamMessage[] = [];
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) messages.push(message);
  return { ...pair, result, messages };
}

const typesOf = (messages: readonly StreamMessage[]) => new Set(messages.map(({ type }) => type));

test('validate-uuid: the UUID is sent when asked for, and compared', async () => {
  const uuidOf = (messages: readonly StreamMessage[]) =>
    messages.flatMap((message) => (message.type === 'configuration' ? [message.configuration.uuid] : []))[0];
  const guest = new TestGuest();
  assert.equal(uuidOf((await migrated()).messages), undefined);
  const target = Object.assign(new TestTarget(), { uuid: guest.uuid });
  assert.deepEqual(
    uuidOf((await migrated({ options: { validateUuid: true }, target })).messages),
    guest.uuid,
  );

  const other = Object.assign(new TestTarget(), { uuid: new Uint8Array(16).fill(9) });
  // Nothing is compared that does not come.
  await migrated({ target: Object.assign(new TestTarget(), { uuid: other.uuid }) });
  const wrong = setUp({ options: { validateUuid: true }, target: other });
  const received = assert.rejects(wrong.incoming.run(), { code: 'uuid-mismatch', channel: 'main' });
  await assert.rejects(wrong.outgoing.run());
  await received;
  assert.ok(wrong.guest.control.running && other.discarded && !other.started);

  const nameless = Object.assign(new TestGuest(), { uuid: undefined });
  const { result } = await migrated({ options: { validateUuid: true }, guest: nameless as never });
  assert.match(result.warnings.join(), /validate-uuid: the guest has no UUID/);
});

test('x-ignore-shared: a shared block is announced, and its pages stay', async (t) => {
  for (const multifd of [false, true]) {
    const guest = new TestGuest();
    guest.shared = ['pc.ram'];
    const target = new TestTarget();
    target.shared = ['pc.ram'];
    const writer = setInterval(() => guest.write(7, 1), 1);
    t.after(() => clearInterval(writer));
    const setup = {
      options: { ignoreShared: true, multifd },
      receive: { ignoreShared: true },
      guest,
      target,
    };
    const { messages, result } = await migrated(setup);
    clearInterval(writer);
    const blocks = messages.find((message) => message.type === 'ram-blocks');
    assert.deepEqual(blocks?.blocks, [
      { idstr: 'pc.ram', usedLengthBytes: 300 * 4096, guestPhysicalAddress: 2n ** 30n },
      { idstr: 'pc.rom', usedLengthBytes: 8 * 4096, guestPhysicalAddress: 0n },
    ]);
    assert.equal(blocks.totalBytes, 308 * 4096);
    assert.equal(result.ram.total, 8 * 4096, 'as QEMU counts: what is ignored is not migrated');
    assert.equal(result.ram.normal + result.ram.duplicate, 8);
    assert.deepEqual(target.blocks[1]!.bytes, guest.blocks[1]!.bytes);
    assert.ok(target.blocks[0]!.bytes.every((byte) => byte === 0));
    assert.deepEqual(target.absent, []);
  }
});

test('x-ignore-shared: a destination that shares nothing is told what did not come, or refuses', async () => {
  const options = { ignoreShared: true };
  const guest = new TestGuest();
  guest.shared = ['pc.rom'];
  const target = new TestTarget();
  target.partial = true;
  await migrated({ options, receive: options, guest, target });
  assert.deepEqual(target.absent, ['pc.rom']);

  const strict = setUp({
    options,
    receive: options,
    guest: Object.assign(new TestGuest(), { shared: ['pc.rom'] }),
  });
  const received = assert.rejects(strict.incoming.run(), {
    code: 'block-mismatch',
    message: /no page of pc\.rom/,
  });
  await assert.rejects(strict.outgoing.run(), { code: 'destination-failed' });
  await received;
  assert.ok(strict.guest.control.running);
});

test('x-ignore-shared: without a shared block everything goes; without the capability shared blocks go', async () => {
  const options = { ignoreShared: true };
  const bare = await migrated({ options, receive: options });
  assertSameRam(bare.guest, bare.target);
  const guest = Object.assign(new TestGuest(), { shared: ['pc.ram'] });
  const target = Object.assign(new TestTarget(), { shared: ['pc.ram'] });
  await migrated({ guest, target });
  assertSameRam(guest, target);
});

test('x-ignore-shared: the capability must be on at both sides', async () => {
  for (const [options, receive] of [
    [{ ignoreShared: true }, {}],
    [{}, { ignoreShared: true }],
  ]) {
    const { outgoing, incoming, guest } = setUp({ options, receive });
    const received = assert.rejects(incoming.run(), {
      code: 'bad-configuration',
      message: /x-ignore-shared/,
    });
    await assert.rejects(outgoing.run());
    await received;
    assert.ok(guest.control.running);
  }
});

test('a guest whose content is elsewhere goes with x-ignore-shared alone', async () => {
  class Rest extends TestGuest {
    override get memory() {
      const blocks = super.memory.blocks.map((block) => ({ ...block, shared: true, elsewhere: true }));
      return { ...super.memory, blocks };
    }
  }
  const { outgoing } = setUp({ guest: new Rest() });
  await assert.rejects(outgoing.run(), { code: 'bad-option', message: /x-ignore-shared.*pc\.ram, pc\.rom/ });
});

test('switchover-ack: the destination agrees when its return path opens', async () => {
  const options = { switchoverAck: true };
  const { guest, target } = await migrated({ options, receive: options });
  assertSameRam(guest, target);
});

test('switchover-ack: the source goes on until the destination agrees', async (t) => {
  const ready = Promise.withResolvers<void>();
  const target = Object.assign(new TestTarget(), { readyForSwitchover: () => ready.promise });
  const options = { switchoverAck: true };
  const { guest, outgoing, incoming } = setUp({ options, receive: options, target });
  let value = 1;
  const writer = setInterval(() => guest.write(Math.floor(Math.random() * 300), value++ & 0xff), 2);
  t.after(() => clearInterval(writer));
  const ends = Promise.all([outgoing.run(), incoming.run()]);
  // Passes go on, further than any migration of this guest without the capability.
  while (outgoing.progress().ram['dirty-sync-count'] < 30) await delay(5);
  assert.equal(outgoing.progress().status, 'active');
  assert.ok(guest.control.running);
  ready.resolve();
  await ends;
  clearInterval(writer);
  assertSameRam(guest, target);
  assert.ok(target.started && !guest.control.running);
});

test('switchover-ack: a destination that never agrees, and one that cannot get ready', async () => {
  const silent = setUp({ options: { switchoverAck: true, stallTimeoutMs: 200 } });
  silent.incoming.run().catch(() => {});
  await assert.rejects(silent.outgoing.run(), { code: 'stall-timeout' });
  assert.ok(silent.guest.control.running);

  const target = Object.assign(new TestTarget(), {
    readyForSwitchover: () => Promise.reject(new Error('no such device')),
  });
  const options = { switchoverAck: true };
  const { outgoing, incoming, guest } = setUp({ options, receive: options, target });
  const received = assert.rejects(incoming.run(), { code: 'guest-failed', message: /no such device/ });
  await assert.rejects(outgoing.run());
  await received;
  assert.ok(guest.control.running);
});

test('switchover-ack: a guest that stands still waits for nobody', async () => {
  const guest = new TestGuest();
  await guest.control.stop(100);
  const { target } = await migrated({ options: { switchoverAck: true }, guest });
  assertSameRam(guest, target);
});

test('switchover-ack needs a return path', async () => {
  assert.throws(() => resolveMigrateOptions({ switchoverAck: true, returnPath: false }), {
    code: 'bad-option',
    message: /switchover-ack needs return-path/,
  });
  const { outgoing } = setUp({ options: { switchoverAck: true }, duplex: false });
  await assert.rejects(outgoing.run(), { code: 'bad-option', message: /switchover-ack needs a return path/ });
});

test('machine types up to 2.3: no configuration, no footers; up to 2.2 no vmdescription either', async () => {
  const { messages, target } = await migrated({ machine: 'pc-i440fx-2.3' });
  const types = typesOf(messages);
  assert.ok(!types.has('configuration') && !types.has('section-footer'));
  assert.ok(messages.some((message) => message.type === 'device-state' && message.proven));
  assert.equal(target.description?.configuration, undefined);

  const named = await migrated({ machine: 'pc-i440fx-2.3', receive: { machine: 'pc-i440fx-2.3' } });
  assert.deepEqual(named.target.description?.configuration, { machine: 'pc-i440fx-2.3' });
});

test('each part of the stream can be asked for and left out', async () => {
  const CASES: [MigrateOptions, string[]][] = [
    [{ sendConfiguration: false }, ['configuration']],
    [{ sendSectionFooter: false }, ['section-footer']],
    [
      { sendConfiguration: false, sendSectionFooter: false, multifd: true },
      ['configuration', 'section-footer'],
    ],
  ];
  for (const [options, missing] of CASES) {
    const { messages, guest, target } = await migrated({ options });
    const types = typesOf(messages);
    assert.deepEqual(
      ['configuration', 'section-footer'].filter((type) => !types.has(type as StreamMessage['type'])),
      missing,
    );
    assertSameRam(guest, target);
    assert.deepEqual(target.state, deviceState());
  }
  const both = { sendConfiguration: true, sendSectionFooter: true };
  const { messages } = await migrated({ machine: 'pc-i440fx-2.3', options: both, receive: both });
  assert.ok(typesOf(messages).has('configuration') && typesOf(messages).has('section-footer'));
});

test('a destination that is told what must come refuses what does not', async () => {
  for (const [receive, code] of [
    [{ sendConfiguration: true }, 'bad-configuration'],
    [{ sendSectionFooter: true }, 'bad-section'],
  ] as const) {
    const { outgoing, incoming, guest } = setUp({ machine: 'pc-i440fx-2.3', receive });
    const received = assert.rejects(incoming.run(), { code });
    await assert.rejects(outgoing.run());
    await received;
    assert.ok(guest.control.running);
  }
});

test('without a vmdescription the sections are found by their footers when the source closes', async () => {
  const options = { suppressVmdesc: true, returnPath: false };
  const { target } = await migrated({ options });
  const { sections } = deviceState();
  assert.deepEqual(target.state, { early: [], sections });
});

test('store-global-state: the run state goes, stays behind, or is missed', async () => {
  const [timer] = deviceState().sections;
  const run = { ...timer!, sectionId: 10, idstr: 'globalstate', data: new Uint8Array(104) };
  const fields = (size: number) => [{ name: 'data', size, type: 'buffer' }];
  const devices = [
    { name: 'timer', instance_id: 0, size: timer!.data.length, fields: fields(timer!.data.length) },
    { name: 'globalstate', instance_id: 0, vmsd_name: 'globalstate', version: 1, fields: fields(104) },
  ];
  const json = (list: object[]) =>
    new TextEncoder().encode(JSON.stringify({ page_size: 4096, devices: list }));
  const state: DeviceState = { early: [], sections: [timer!, run], vmdesc: json(devices) };
  const guest = () => Object.assign(new TestGuest(), { saveDeviceState: async () => state });

  assert.deepEqual((await migrated({ guest: guest() })).target.state, state);
  const without = await migrated({ guest: guest(), options: { storeGlobalState: false } });
  assert.deepEqual(without.target.state, { early: [], sections: [timer], vmdesc: json(devices.slice(0, 1)) });
  assert.ok(without.messages.some((message) => message.type === 'device-state' && message.proven));

  const { outgoing, incoming, guest: plain } = setUp({ options: { storeGlobalState: true } });
  incoming.run().catch(() => {});
  await assert.rejects(outgoing.run(), { code: 'bad-option', message: /globalstate/ });
  assert.ok(plain.control.running);
});

test('release-ram: nothing is freed in precopy, and it is said', async () => {
  const { guest, target, result } = await migrated({ options: { releaseRam: true } });
  assertSameRam(guest, target);
  assert.match(result.warnings.join(), /release-ram: memory is freed in postcopy alone/);
});

test('zero-page-detection of a plain channel: none sends pages, the others ZERO records', async () => {
  for (const [zeroPageDetection, zeros] of [
    ['none', 0],
    ['legacy', 154],
    ['multifd', 154],
  ] as const) {
    const guest = new TestGuest();
    const { result, messages } = await migrated({ guest, options: { zeroPageDetection } });
    assert.equal(messages.filter(({ type }) => type === 'ram-zero').length, zeros, zeroPageDetection);
    assert.equal(result.ram.duplicate, zeros);
    assert.equal(result.ram.normal, 308 - zeros);
  }
});

test('mapped-ram goes neither with x-ignore-shared nor without a configuration', () => {
  for (const other of [{ ignoreShared: true }, { sendConfiguration: false }]) {
    assert.throws(() => resolveMigrateOptions({ mappedRam: true, ...other }), { code: 'bad-option' });
  }
});
