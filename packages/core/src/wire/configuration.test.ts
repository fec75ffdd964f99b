import assert from 'node:assert/strict';
import test from 'node:test';
import { hex } from '../testing/wire-streams.ts';
import { ByteQueue } from './byte-queue.ts';
import { concatBytes } from './byte-writer.ts';
import {
  decodeConfiguration,
  decodeStreamHeader,
  encodeConfiguration,
  encodeStreamHeader,
} from './configuration.ts';
import type { ConfigurationSection } from './messages.ts';
import { StreamDecoder } from './stream-decoder.ts';

function run<T>(decode: (queue: ByteQueue) => Generator<undefined, T>, bytes: Uint8Array): T {
  const queue = new ByteQueue('main');
  queue.push(bytes);
  queue.end();
  const result = decode(queue).next();
  assert.ok(result.done);
  return result.value;
}

/** A section that follows, so that the end of the configuration shows. */
const NEXT = Uint8Array.of(1);
const decode = (bytes: Uint8Array) => run(decodeConfiguration, concatBytes([bytes, NEXT]));

const PLAIN = hex('07 00000002 7063');
const FULL = hex(`07 00000004 71333578
  05 1a 636f6e66696775726174696f6e2f6361706162696c6974696573 00000001
     00000001 0f 782d69676e6f72652d736861726564
  05 12 636f6e66696775726174696f6e2f75756964 00000001 00112233445566778899aabbccddeeff`);
const TARGET_PAGE_BITS = hex('05 1e 636f6e66696775726174696f6e2f7461726765742d706167652d62697473 00000001');
const CAPABILITIES = hex('05 1a 636f6e66696775726174696f6e2f6361706162696c6974696573 00000001');
const UUID = hex('05 12 636f6e66696775726174696f6e2f75756964 00000001');
const MAPPED_RAM = hex('0a 6d61707065642d72616d');

test('stream header', () => {
  const bytes = hex('5145564d 00000003');
  assert.deepEqual(encodeStreamHeader(), bytes);
  assert.equal(run(decodeStreamHeader, bytes), 3);
});

test('wrong stream headers', () => {
  const header = (text: string) => () => run(decodeStreamHeader, hex(text));
  assert.throws(header('11223344'), {
    code: 'bad-magic',
    channel: 'main',
    offset: 0,
    found: '0x11223344',
    message: /0x5145564d/,
  });
  assert.throws(header('5145564d 00000002'), { code: 'bad-version', offset: 4, found: '2 (obsolete)' });
  assert.throws(header('5145564d 03000000'), { code: 'bad-version', offset: 4, found: '50331648' });
  assert.throws(header('5145'), { code: 'truncated', offset: 2 });
  assert.throws(header('5145564d 0000'), { code: 'truncated', offset: 6 });
});

test('configuration, both ways', () => {
  const uuid = hex('00112233445566778899aabbccddeeff');
  const cases: [ConfigurationSection, Uint8Array][] = [
    [{ machine: 'pc' }, PLAIN],
    [{ machine: 'q35x', capabilities: ['x-ignore-shared'], uuid }, FULL],
    [{ machine: 'pc', targetPageBits: 16 }, concatBytes([PLAIN, TARGET_PAGE_BITS, hex('00000010')])],
    [
      { machine: 'pc', targetPageBits: 14, capabilities: ['mapped-ram', 'x-ignore-shared'], uuid },
      concatBytes([
        PLAIN,
        TARGET_PAGE_BITS,
        hex('0000000e'),
        CAPABILITIES,
        hex('00000002'),
        MAPPED_RAM,
        hex('0f 782d69676e6f72652d736861726564'),
        UUID,
        uuid,
      ]),
    ],
  ];
  for (const [configuration, bytes] of cases) {
    assert.deepEqual(encodeConfiguration(configuration), bytes);
    assert.deepEqual(decode(bytes), configuration);
  }
  assert.deepEqual(encodeConfiguration({ machine: 'pc', capabilities: [] }), PLAIN);
});

test('malformed configurations', () => {
  const fails = (parts: Uint8Array[], error: object) =>
    assert.throws(() => decode(concatBytes(parts)), error);
  fails([hex('08')], { code: 'bad-configuration', offset: 0, found: 'section type 8' });
  fails([hex('07 00000100')], { code: 'limit-exceeded', offset: 1, found: '256' });
  fails([hex('07 00000000')], { code: 'bad-configuration', offset: 1 });
  fails([hex('07 00000002 7000')], { code: 'bad-configuration', offset: 5, found: '0x7000' });
  fails([PLAIN, hex('05 03 666f6f 00000001')], { code: 'bad-configuration', offset: 7, found: 'foo' });
  fails([PLAIN, hex('05 00')], { code: 'bad-configuration', offset: 8 });
  fails([PLAIN, UUID.with(23, 2)], { code: 'bad-version', offset: 27, found: '2' });
  const uuid = new Uint8Array(16);
  const capability = concatBytes([CAPABILITIES, hex('00000001'), MAPPED_RAM]);
  const unordered = { code: 'bad-configuration', message: /out of order/ };
  fails([PLAIN, UUID, uuid, capability], { ...unordered, offset: 47 });
  fails([PLAIN, UUID, uuid, UUID, uuid], unordered);
  fails([PLAIN, TARGET_PAGE_BITS, hex('00000009')], { code: 'bad-configuration', found: '9' });
  fails([PLAIN, TARGET_PAGE_BITS, hex('0000001f')], { code: 'bad-configuration', found: '31' });
  fails([PLAIN, CAPABILITIES, hex('00000000')], { code: 'bad-configuration', found: '0' });
  fails([PLAIN, CAPABILITIES, hex('ffffffff')], { code: 'bad-configuration', found: '4294967295' });
  fails([PLAIN, CAPABILITIES, hex('00000001 03 666f6f')], { code: 'bad-configuration', found: 'foo' });
  const twice = { code: 'bad-configuration', found: 'mapped-ram' };
  fails([PLAIN, CAPABILITIES, hex('00000002'), MAPPED_RAM, MAPPED_RAM], twice);
});

test('a configuration that is cut anywhere', () => {
  for (let length = 0; length < FULL.length; length++) {
    const error = { code: 'truncated', offset: length };
    assert.throws(() => run(decodeConfiguration, FULL.subarray(0, length)), error);
  }
});

test('what was decoded outlives a reused Node buffer', () => {
  const uuid = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
  const buffer = Buffer.from([
    ...encodeStreamHeader(),
    ...encodeConfiguration({ machine: 'pc', uuid }),
    0x01,
  ]);
  const decoder = new StreamDecoder();
  decoder.push(buffer);
  decoder.next();
  const message = decoder.next();
  decoder.next();
  buffer.fill(0xee);
  assert.ok(message?.type === 'configuration');
  assert.deepEqual(message.configuration.uuid, uuid);
});
