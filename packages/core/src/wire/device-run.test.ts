import assert from 'node:assert/strict';
import test from 'node:test';
import {
  DEVICES,
  type Decoded,
  decode,
  describe,
  device,
  end,
  endOfRam,
  head,
  hex,
  pageRecord,
  part,
  start,
  tail,
  zeroRecord,
} from '../testing/wire-streams.ts';
import { concatBytes } from './byte-writer.ts';
import { encodeCommand } from './command.ts';
import { Command, type DeviceSection, type DeviceStateMessage } from './messages.ts';
import { encodeDeviceSection, encodeEof } from './section.ts';
import type { StreamDecoderOptions } from './stream-decoder.ts';
import { encodeVmdesc } from './vmdesc.ts';

const ended = concatBytes([start, endOfRam, end]);
const EARLY = [device(30, 'virtio-mem-early', hex('0102')), device(31, 'other-early', hex('7e0000001f'))];

/** Decodes in the extremes of cutting, which must agree. */
function decodeBoth(bytes: readonly Uint8Array[], options: StreamDecoderOptions = {}): Decoded {
  const whole = decode(bytes, options);
  for (const other of [{ bytewise: true }, { closeFirst: true }]) {
    const same = decode(bytes, { ...options, ...other });
    assert.deepEqual(same.messages, whole.messages);
    assert.deepEqual(same.error?.toPlain(), whole.error?.toPlain());
  }
  return whole;
}

function stateOf({ messages, error }: Decoded): DeviceStateMessage {
  assert.equal(error, undefined);
  assert.equal(messages.at(-1)?.type, 'end');
  const state = messages.at(-2);
  assert.ok(state?.type === 'device-state');
  return state;
}

const early = ({ messages }: Decoded) =>
  messages.flatMap((message) => (message.type === 'device-section' ? [message.section] : []));

test('the vmdescription proves where sections end, whatever is in them', () => {
  // Data that looks like the section's own footer with a header, an EOF and a vmdescription behind it.
  const copy = tail([device(7, 'x', hex(''))]);
  const sections = [
    device(
      7,
      'net',
      concatBytes([hex('7e00000007'), encodeDeviceSection(device(9, 'fake', hex('00'))), copy]),
    ),
    device(8, 'serial', hex('7e00000008007e0000000800067e00')),
    device(9, 'empty', hex('')),
  ];
  const state = stateOf(decodeBoth([ended, tail(sections)]));
  assert.equal(state.proven, true);
  assert.deepEqual(state.sections, sections);
  assert.deepEqual(state.raw, tail(sections));
  assert.deepEqual(state.vmdesc, describe(sections));
});

test('no device sections at all', () => {
  const state = stateOf(decodeBoth([ended, tail([])]));
  assert.deepEqual([state.sections, state.proven], [[], true]);
  const bare = stateOf(decodeBoth([ended, encodeEof()]));
  assert.deepEqual([bare.sections, bare.proven, bare.vmdesc], [[], false, undefined]);
  const wrong = decodeBoth([ended, encodeEof(), hex('ff')]).error;
  assert.equal(wrong?.code, 'bad-device-state');
  assert.equal(wrong.offset, ended.length);
  const cut = decodeBoth([ended, tail([]).subarray(0, 20)]).error;
  assert.equal(cut?.code, 'truncated');
  assert.match(cut.expected!, /vmdescription of \d+ bytes/);
});

test('without a vmdescription the sections are found by their footers, at the close', () => {
  const bytes = [ended, ...DEVICES.map((section) => encodeDeviceSection(section)), encodeEof()];
  const state = stateOf(decodeBoth(bytes));
  assert.deepEqual([state.proven, state.vmdesc], [false, undefined]);
  assert.deepEqual(state.sections, DEVICES);
});

test('a vmdescription that is wrong about a length is kept, but proves nothing', () => {
  const described = DEVICES.map((section, i) => (i === 1 ? { ...section, data: hex('00') } : section));
  const state = stateOf(decodeBoth([ended, tail(DEVICES, { described })]));
  assert.equal(state.proven, false);
  assert.deepEqual(state.sections, DEVICES);
  assert.deepEqual(state.vmdesc, describe(described));
});

test('what is described must be there: names, instances, number', () => {
  const [one, two] = [device(5, 'dma', hex('01'), 0), device(6, 'dma', hex('02'), 1)];
  const variants: DeviceSection[][] = [
    [two, one],
    [one],
    [one, two, two],
    [one, { ...two, idstr: 'dna' }],
    [one, { ...two, instanceId: 2 }],
  ];
  for (const described of variants) {
    assert.equal(stateOf(decodeBoth([ended, tail([one, two], { described })])).proven, false);
  }
  assert.equal(stateOf(decodeBoth([ended, tail([one, two])])).proven, true);
});

test('text that is no JSON is no vmdescription', () => {
  const bytes = [ended, encodeDeviceSection(DEVICES[0]!), encodeEof(), encodeVmdesc(hex('7b7b7b7d'))];
  const { error } = decodeBoth(bytes);
  // Until the close it could be the data of a section.
  assert.equal(error, undefined);
  const cut = decodeBoth([...bytes, hex('00')]).error;
  assert.equal(cut?.code, 'truncated');
});

test('device state that is cut says how much of the vmdescription is missing', () => {
  const bytes = concatBytes([ended, tail(DEVICES)]);
  const { error } = decodeBoth([bytes.subarray(0, bytes.length - 1)]);
  assert.equal(error?.code, 'truncated');
  assert.equal(error.offset, bytes.length - 1);
  assert.equal(error.expected, `the rest of a vmdescription of ${describe(DEVICES).length} bytes`);
});

test('the device state is bounded', () => {
  const big = [device(5, 'big', new Uint8Array(3000).fill(0x7e))];
  const size = tail(big).length;
  assert.equal(stateOf(decodeBoth([ended, tail(big)], { maxDeviceStateBytes: size })).proven, true);
  for (const maxDeviceStateBytes of [size - 1, 2000]) {
    const { error } = decodeBoth([ended, tail(big), new Uint8Array(2000)], { maxDeviceStateBytes });
    assert.equal(error?.code, 'limit-exceeded');
    assert.equal(error.offset, ended.length + maxDeviceStateBytes);
  }
});

test('early sections: before START, between sections of ram, before a command', () => {
  const decoded = decodeBoth([
    head,
    encodeDeviceSection(EARLY[0]!),
    start.subarray(head.length),
    endOfRam,
    encodeDeviceSection(EARLY[1]!),
    encodeDeviceSection(device(32, 'third', hex('7e000000207e00000020'))),
    part,
    zeroRecord(1, 'pc.ram'),
    endOfRam,
    encodeDeviceSection(device(33, 'fourth', hex('7e00000021ff'))),
    encodeCommand(Command.switchoverStart),
    end,
    tail(DEVICES, {
      described: [...EARLY, device(32, 'third', hex('')), device(33, 'fourth', hex('')), ...DEVICES],
    }),
  ]);
  assert.deepEqual(
    early(decoded).map(({ idstr, data }) => [idstr, data]),
    [
      ['virtio-mem-early', hex('0102')],
      ['other-early', hex('7e0000001f')],
      ['third', hex('7e000000207e00000020')],
      ['fourth', hex('7e00000021ff')],
    ],
  );
  const state = stateOf(decoded);
  assert.equal(state.proven, true);
  assert.deepEqual(state.sections, DEVICES);
  assert.deepEqual(
    decoded.messages
      .map(({ type }) => type)
      .filter((type) => /^(device|section-(start|part|end))|command/.test(type)),
    [
      'device-section',
      'section-start',
      'device-section',
      'device-section',
      'section-part',
      'device-section',
      'command',
      'section-end',
      'device-state',
    ],
  );
});

test('an early section is not cut short by a copy of what may follow it', () => {
  const lookalikes = [
    // A PART of a section that was not started, one without a RAM record, a header with a taken id, an
    // unknown command, a START that is none, an EOF with something else behind.
    hex('7e0000001e 02 00000003 0000000000000010'),
    hex('7e0000001e 02 00000002 0000000000000011'),
    hex('7e0000001e 04 00000002 03 61616100000000 00000001'),
    hex('7e0000001e 08 000c 0000'),
    hex('7e0000001e 01 00000009 03 616161 00000000 00000001'),
    hex('7e0000001e 00 06 00000010 7b 00'),
    hex('7e0000001e 7e'),
  ];
  for (const data of lookalikes) {
    const section = device(30, 'net', data);
    const decoded = decodeBoth([
      start,
      endOfRam,
      encodeDeviceSection(section),
      part,
      endOfRam,
      end,
      tail(DEVICES),
    ]);
    assert.deepEqual(early(decoded), [section]);
    assert.equal(stateOf(decoded).proven, true);
  }
});

test('background-snapshot: no END of ram, the run of FULL sections is the device state', () => {
  const decoded = decodeBoth([start, endOfRam, part, pageRecord(0, 1, 'pc.ram'), endOfRam, tail(DEVICES)]);
  const state = stateOf(decoded);
  assert.equal(state.proven, true);
  assert.deepEqual(state.sections, DEVICES);
  assert.deepEqual(early(decoded), []);
  const scanned = decodeBoth([
    start,
    endOfRam,
    part,
    endOfRam,
    ...DEVICES.map((section) => encodeDeviceSection(section)),
    encodeEof(),
  ]);
  assert.deepEqual(stateOf(scanned).sections, DEVICES);
});

test('a stream of device sections only', () => {
  const state = stateOf(
    decodeBoth([head, ...DEVICES.map((section) => encodeDeviceSection(section)), encodeEof()]),
  );
  assert.deepEqual([state.sections, state.proven], [DEVICES, false]);
  assert.equal(stateOf(decodeBoth([head, tail(DEVICES)])).proven, true);
});

test('early sections with ids that are taken, or without a proper name', () => {
  const clash = decodeBoth([start, endOfRam, encodeDeviceSection(device(2, 'x', hex('01'))), part]);
  assert.equal(clash.error?.code, 'truncated');
  const known = decodeBoth([start, endOfRam, encodeDeviceSection(device(2, 'x', hex('01'))), part, endOfRam]);
  assert.equal(known.error?.code, 'bad-section');
  assert.equal(known.error.offset, start.length + endOfRam.length);
  const unnamed = decodeBoth([start, endOfRam, hex('04 00000009 01 07 00000000 00000001')]);
  assert.equal(unnamed.error?.code, 'bad-section');
});
