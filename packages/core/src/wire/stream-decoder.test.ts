import assert from 'node:assert/strict';
import test from 'node:test';
import type { MigrationError } from '../error.ts';
import {
  DEVICES,
  decode,
  device,
  end,
  endOfRam,
  head,
  hex,
  pageRecord,
  part,
  smallStream,
  start,
  tail,
  zeroRecord,
} from '../testing/wire-streams.ts';
import { concatBytes } from './byte-writer.ts';
import { encodeCommand, encodePing } from './command.ts';
import { encodeConfiguration, encodeStreamHeader, IGNORE_SHARED_CAPABILITY } from './configuration.ts';
import { Command } from './messages.ts';
import { encodeEos, encodeRamBlocks } from './ram-records.ts';
import {
  encodeDeviceSection,
  encodeFooter,
  encodeSectionEnd,
  encodeSectionPart,
  encodeSectionStart,
} from './section.ts';
import { StreamDecoder } from './stream-decoder.ts';

function failsAt(prefix: Uint8Array, bytes: Uint8Array, error: object, at = 0): void {
  for (const bytewise of [false, true]) {
    const decoded = decode([prefix, bytes], { bytewise });
    assert.ok(decoded.error, 'no error');
    assert.throws(
      () => {
        throw decoded.error;
      },
      { channel: 'main', offset: prefix.length + at, ...error },
    );
  }
}

const types = (bytes: Uint8Array[]) => decode(bytes).messages.map(({ type }) => type);
const ramStart = (id: number, idstr = 'ram', versionId = 4, instanceId = 0) =>
  encodeSectionStart({ sectionId: id, idstr, instanceId, versionId });

test('a whole stream, message by message', () => {
  const { messages, error, decoder } = decode(smallStream);
  assert.equal(error, undefined);
  assert.deepEqual(messages.slice(0, 5), [
    { type: 'header', version: 3 },
    { type: 'configuration', configuration: { machine: 'pc-i440fx-10.0' } },
    { type: 'section-start', section: { sectionId: 2, idstr: 'ram', instanceId: 0, versionId: 4 } },
    {
      type: 'ram-blocks',
      totalBytes: 20480,
      blocks: [
        { idstr: 'pc.ram', usedLengthBytes: 16384 },
        { idstr: 'pc.bios', usedLengthBytes: 4096 },
      ],
    },
    { type: 'ram-eos' },
  ]);
  assert.deepEqual(messages[5], { type: 'section-footer', sectionId: 2 });
  assert.deepEqual(messages[6], { type: 'section-part', sectionId: 2, idstr: 'ram' });
  assert.deepEqual(messages[12], { type: 'section-end', sectionId: 2, idstr: 'ram' });
  const state = messages[15];
  assert.ok(state?.type === 'device-state');
  assert.deepEqual(state.sections, DEVICES);
  assert.deepEqual(state.raw, tail(DEVICES));
  assert.deepEqual(messages[16], { type: 'end' });
  assert.equal(messages.length, 17);
  assert.equal(decoder.offset, smallStream.length);
});

test('the end shows without a close, and what follows it is not read', () => {
  const decoder = new StreamDecoder();
  const bytes = concatBytes([smallStream, hex('0011223344')]);
  for (const byte of bytes) {
    decoder.push(Uint8Array.of(byte));
    while (decoder.next() !== undefined);
  }
  assert.ok(decoder.done);
  assert.equal(decoder.offset, smallStream.length);
  assert.equal(decoder.next(), undefined);
});

test('a page is a view of the chunk, and its message is one object', () => {
  const decoder = new StreamDecoder();
  const chunk = concatBytes([start, endOfRam, part, pageRecord(0, 1, 'pc.ram'), pageRecord(1, 2)]);
  decoder.push(chunk);
  const pages = [];
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
    if (message.type !== 'ram-page') continue;
    assert.equal(message.data.buffer, chunk.buffer);
    pages.push(message);
  }
  assert.equal(pages.length, 2);
  assert.equal(pages[0], pages[1]);
});

test('a stream that is cut anywhere is truncated there', () => {
  // All of the device state is there once the EOF came; a machine may have no vmdescription.
  const eof = smallStream.length - tail(DEVICES).length + tail(DEVICES).lastIndexOf(0x7e) + 6;
  for (let length = 0; length < smallStream.length; length++) {
    // The middle of a page is like its other parts.
    if (length > start.length + 60 && length < start.length + 4100) continue;
    for (const bytewise of [false, true]) {
      const { error, messages } = decode(smallStream.subarray(0, length), { bytewise });
      if (length === eof) {
        assert.equal(error, undefined);
        assert.ok(messages.at(-2)?.type === 'device-state');
        continue;
      }
      assert.equal(error?.code, 'truncated', `cut at ${length}`);
      assert.equal(error.offset, length);
      assert.equal(error.channel, 'main');
      assert.ok(error.expected);
    }
  }
});

test('damaged bytes give the same outcome however the stream is cut', () => {
  let seed = 12345;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return seed % below;
  };
  // Without most of the page, which is not looked at.
  const interesting = [...smallStream.keys()].filter(
    (at) => at < start.length + 80 || at > start.length + 4110,
  );
  const codes = new Set<string>();
  for (let round = 0; round < 400; round++) {
    const damaged = smallStream.slice();
    damaged[interesting[random(interesting.length)]!] = [0, 1, 0x7e, 0xff, random(256)][random(5)]!;
    const whole = decode(damaged);
    const summary = (error: MigrationError | undefined) => error?.toPlain();
    for (const options of [{ bytewise: true }, { closeFirst: true }, { bytewise: true, closeFirst: true }]) {
      const other = decode(damaged, options);
      assert.deepEqual(other.messages, whole.messages);
      assert.deepEqual(summary(other.error), summary(whole.error));
    }
    if (whole.error) codes.add(whole.error.code);
  }
  assert.ok(codes.size > 5, [...codes].join());
  assert.ok(!codes.has('internal'));
});

test('wrong header and unknown section types', () => {
  failsAt(new Uint8Array(0), hex('11223344'), { code: 'bad-magic', found: '0x11223344' });
  failsAt(new Uint8Array(0), hex('5145564d 00000004'), { code: 'bad-version', found: '4' }, 4);
  for (const type of [0x06, 0x07, 0x09, 0x7e, 0xff]) {
    failsAt(head, Uint8Array.of(type), { code: 'unknown-section', found: `0x${type.toString(16)}` });
  }
});

test('target pages of another size are refused', () => {
  const configuration = encodeConfiguration({ machine: 'virt-8.2', targetPageBits: 16 });
  const prefix = concatBytes([encodeStreamHeader(), configuration]);
  failsAt(prefix, ramStart(2), { code: 'unsupported', found: '16 bits' });
  const same = encodeConfiguration({ machine: 'virt-8.2', targetPageBits: 12 });
  assert.equal(decode([encodeStreamHeader(), same, ramStart(2)]).error?.code, 'truncated');
});

test('sections that start', () => {
  failsAt(head, ramStart(2, 'ram', 3), { code: 'bad-version', found: '3', expected: '4' });
  failsAt(head, ramStart(2, 'ram', 5), { code: 'bad-version', found: '5' });
  failsAt(head, ramStart(2, 'ram', 4, 1), { code: 'unknown-section', found: 'ram instance 1' });
  failsAt(head, ramStart(2, 'rom'), { code: 'unknown-section', found: 'rom instance 0' });
  failsAt(head, ramStart(1, 'block', 1), { code: 'unsupported', message: /block migration/ });
  failsAt(head, ramStart(3, 'dirty-bitmap', 1), { code: 'unsupported', message: /dirty-bitmap/ });
  failsAt(head, ramStart(3, '0000:00:04.0/vfio', 1), { code: 'unsupported', message: /0000:00:04.0\/vfio/ });
  failsAt(head, hex('01 00000002 00'), { code: 'bad-section', message: /empty/ }, 5);
  failsAt(concatBytes([start, endOfRam]), ramStart(3), {
    code: 'bad-section',
    message: /second SECTION_START/,
  });
});

test('sections that go on', () => {
  const started = concatBytes([start, endOfRam]);
  failsAt(head, encodeSectionPart(2), { code: 'unknown-section', found: '2' });
  failsAt(started, encodeSectionPart(3), { code: 'unknown-section', found: '3' });
  failsAt(started, encodeSectionEnd(0), { code: 'unknown-section', found: '0' });
  failsAt(concatBytes([started, end]), part, { code: 'bad-section', message: /after its SECTION_END/ });
  failsAt(concatBytes([start, endOfRam.subarray(0, 8)]), encodeFooter(3), {
    code: 'bad-section',
    found: '3',
  });
  const open = concatBytes([started, part, encodeEos()]);
  failsAt(open, part, { code: 'bad-section', message: /no footer/ });
});

test('EOF while RAM is open', () => {
  failsAt(head, hex('00'), { code: 'bad-section', message: /EOF before the SECTION_END/ });
  failsAt(concatBytes([start, endOfRam]), hex('00'), { code: 'bad-section' });
});

test('commands between sections', () => {
  const switchover = encodeCommand(Command.switchoverStart);
  const { messages, error } = decode([
    head,
    encodeCommand(Command.openReturnPath),
    encodePing(7),
    start.subarray(head.length),
    endOfRam,
    switchover,
    end,
    encodeCommand(Command.postcopyAdvise),
    tail(DEVICES),
  ]);
  assert.equal(error, undefined);
  assert.deepEqual(
    messages.filter(({ type }) => type === 'command'),
    [
      { type: 'command', command: Command.openReturnPath, payload: hex('') },
      { type: 'command', command: Command.ping, payload: hex('00000007') },
      { type: 'command', command: Command.switchoverStart, payload: hex('') },
      { type: 'command', command: Command.postcopyAdvise, payload: hex('') },
    ],
  );
  failsAt(head, hex('08 000c 0000'), { code: 'bad-command', found: '12' }, 1);
  failsAt(head, hex('08 0002 0003 000000'), { code: 'bad-command', found: '3' }, 3);
});

test('a postcopy package is given as a command, and what follows is refused', () => {
  const packaged = encodeCommand(Command.packaged, hex('00000005'));
  const bytes = [start, endOfRam, packaged, encodeCommand(Command.postcopyListen)];
  assert.equal(types(bytes).at(-1), 'command');
  failsAt(concatBytes(bytes.slice(0, 2)), packaged, { code: 'unsupported', message: /PACKAGED/ });
});

test('after an error every call gives it again', () => {
  const decoder = new StreamDecoder({ channel: 'x' });
  decoder.push(hex('00000000'));
  assert.throws(() => decoder.next(), { code: 'bad-magic', channel: 'x' });
  assert.throws(() => decoder.next(), { code: 'bad-magic' });
});

test('streams of old machine types: no configuration, no footers', () => {
  const bytes = [
    encodeStreamHeader(),
    start.subarray(head.length),
    hex('0000000000000010'),
    part,
    zeroRecord(3, 'pc.ram'),
    hex('0000000000000010'),
    encodeSectionEnd(2),
    hex('0000000000000010'),
    tail(DEVICES, { footers: false }),
  ];
  for (const bytewise of [false, true]) {
    const { messages, error } = decode(bytes, { bytewise });
    assert.equal(error, undefined);
    assert.ok(!messages.some(({ type }) => type === 'configuration' || type === 'section-footer'));
    const state = messages.at(-2);
    assert.ok(state?.type === 'device-state' && state.proven);
    assert.deepEqual(state.sections, DEVICES);
  }
  assert.equal(decode(bytes, { configuration: false, footers: false }).error, undefined);
  assert.equal(decode(bytes, { configuration: true }).error?.code, 'bad-configuration');
  assert.equal(decode(bytes, { footers: true }).error?.code, 'bad-section');
  assert.equal(decode(smallStream, { configuration: false }).error?.code, 'unknown-section');
  assert.equal(decode(smallStream, { footers: false }).error?.code, 'unknown-section');
  const without = decode([...bytes.slice(0, -1), encodeDeviceSection(DEVICES[0]!, false), hex('00')]);
  assert.equal(without.error?.code, 'bad-device-state');
  assert.match(without.error.message, /suppress-vmdesc=off/);
});

test('a configuration or a footer alone may be missing', () => {
  const headless = decode([encodeStreamHeader(), smallStream.subarray(head.length)]);
  assert.equal(headless.error, undefined);
  assert.deepEqual(headless.messages.at(1), {
    type: 'section-start',
    section: { sectionId: 2, idstr: 'ram', instanceId: 0, versionId: 4 },
  });
  const footless = [start, encodeEos(), encodeSectionEnd(2), encodeEos(), tail(DEVICES, { footers: false })];
  const { messages, error } = decode(footless, { bytewise: true });
  assert.equal(error, undefined);
  assert.equal(messages.at(1)?.type, 'configuration');
  assert.ok(!messages.some(({ type }) => type === 'section-footer'));
});

test('with x-ignore-shared the block list has guest addresses, whoever says so', () => {
  const blocks = [
    { idstr: 'pc.ram', usedLengthBytes: 8192, guestPhysicalAddress: 0n },
    { idstr: 'vga.vram', usedLengthBytes: 4096, guestPhysicalAddress: 0xffff_ffff_fd00_0000n },
  ];
  const capabilities = [IGNORE_SHARED_CAPABILITY];
  const ram = [ramStart(2), encodeRamBlocks(12288, blocks, true), endOfRam, end, tail(DEVICES)];
  const said = [encodeStreamHeader(), encodeConfiguration({ machine: 'pc', capabilities }), ...ram];
  for (const { messages, error } of [
    decode(said, { bytewise: true }),
    decode([encodeStreamHeader(), ...ram], { ignoreShared: true }),
  ]) {
    assert.equal(error, undefined);
    const list = messages.find(({ type }) => type === 'ram-blocks');
    assert.deepEqual(list, { type: 'ram-blocks', totalBytes: 12288, blocks });
  }
});

test('offsets count from where the stream starts in its file', () => {
  const { error } = decode([start, hex('ff')], { offset: 1000, channel: 'guest.bin' });
  assert.equal(error?.code, 'truncated');
  assert.equal(error.offset, 1000 + start.length + 1);
  assert.equal(error.channel, 'guest.bin');
});

test('section ids of devices must be free', () => {
  const clash = [DEVICES[0]!, device(2, 'pit', hex('01'))];
  const prefix = concatBytes([start, endOfRam, end]);
  const at = encodeDeviceSection(DEVICES[0]!).length;
  failsAt(prefix, tail(clash), { code: 'bad-section', found: 'pit with id 2' }, at);
  failsAt(prefix, tail([DEVICES[0]!, device(0, 'pit', hex('01'))]), { code: 'bad-section' }, at);
  failsAt(prefix, tail([device(9, 'ram', hex('01'))]), {
    code: 'unknown-section',
    message: /SECTION_FULL of ram/,
  });
});
