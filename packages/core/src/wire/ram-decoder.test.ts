import assert from 'node:assert/strict';
import test from 'node:test';
import {
  BLOCKS,
  decode,
  endOfRam,
  head,
  hex,
  pageRecord,
  part,
  start,
  zeroRecord,
} from '../testing/wire-streams.ts';
import { concatBytes } from './byte-writer.ts';
import { encodeConfiguration, encodeStreamHeader } from './configuration.ts';
import { RamFlag, type StreamMessage } from './messages.ts';
import { isPlausibleRamWord } from './ram-decoder.ts';
import {
  encodeEos,
  encodeMappedRamHeader,
  encodeMultifdFlush,
  encodeRamBlockEntry,
  encodeRamBlocks,
  encodeRamWord,
} from './ram-records.ts';
import { encodeSectionStart } from './section.ts';
import { StreamDecoder } from './stream-decoder.ts';

const RAM_START = encodeSectionStart({ sectionId: 2, idstr: 'ram', instanceId: 0, versionId: 4 });
/** Up to the records of a PART. */
const inPart = concatBytes([start, endOfRam, part]);

function failsAt(prefix: Uint8Array, record: Uint8Array, error: object, at = 0): void {
  for (const bytewise of [false, true]) {
    const decoded = decode([prefix, record], { bytewise });
    assert.ok(decoded.error, 'no error');
    assert.throws(
      () => {
        throw decoded.error;
      },
      { channel: 'main', offset: prefix.length + at, ...error },
    );
  }
}

/** A block list with these lengths, named a, b, …, and whatever total. */
function list(total: number, ...lengths: number[]): Uint8Array {
  const entries = lengths.map((usedLengthBytes, i) => ({
    idstr: String.fromCharCode(97 + i),
    usedLengthBytes,
  }));
  return encodeRamBlocks(total, entries);
}

test('page records: named, continued, in another block, across sections', () => {
  const { messages } = decode([
    inPart,
    zeroRecord(1, 'pc.ram'),
    pageRecord(2, 0x5a),
    pageRecord(0, 0x6b, 'pc.bios'),
    endOfRam,
    part,
    zeroRecord(0),
    encodeMultifdFlush(),
    endOfRam,
  ]);
  const records = messages.filter(({ type }) => type === 'ram-page' || type === 'ram-zero');
  assert.deepEqual(records, [
    { type: 'ram-zero', blockIndex: 0, pageIndex: 1 },
    { type: 'ram-page', blockIndex: 0, pageIndex: 2, data: new Uint8Array(4096).fill(0x5a) },
    { type: 'ram-page', blockIndex: 1, pageIndex: 0, data: new Uint8Array(4096).fill(0x6b) },
    { type: 'ram-zero', blockIndex: 1, pageIndex: 0 },
  ] satisfies StreamMessage[]);
  assert.equal(messages.at(-3)?.type, 'ram-multifd-flush');
});

test('the example of a zero page, a raw page and the end', () => {
  const bytes = hex('0000000000001002 06 70632e72616d 00  0000000000002028');
  const { messages } = decode([inPart, bytes, new Uint8Array(4096).fill(1), hex('0000000000000010')]);
  assert.deepEqual(messages.slice(-3), [
    { type: 'ram-zero', blockIndex: 0, pageIndex: 1 },
    { type: 'ram-page', blockIndex: 0, pageIndex: 2, data: new Uint8Array(4096).fill(1) },
    { type: 'ram-eos' },
  ]);
});

test('pages that are nowhere', () => {
  failsAt(inPart, pageRecord(0, 1), { code: 'bad-page', message: /CONTINUE before any block/ });
  failsAt(inPart, zeroRecord(0), { code: 'bad-page', message: /CONTINUE before any block/ });
  failsAt(inPart, pageRecord(4, 1, 'pc.ram'), {
    code: 'bad-page',
    found: '0x4000',
    expected: 'less than 0x4000',
  });
  failsAt(inPart, zeroRecord(1, 'pc.bios'), { code: 'bad-page', found: '0x1000' });
  failsAt(inPart, zeroRecord(2 ** 40, 'pc.ram'), { code: 'bad-page' });
  failsAt(inPart, hex('0020000000000002 06 70632e72616d 00'), {
    code: 'bad-page',
    found: 'an offset above 2^53',
  });
  failsAt(inPart, zeroRecord(0, 'pc.rom'), { code: 'unknown-block', found: '"pc.rom"' }, 8);
  failsAt(inPart, zeroRecord(0, 'pc.ra'), { code: 'unknown-block' }, 8);
  failsAt(inPart, hex('0000000000000002 00 00'), { code: 'unknown-block' }, 8);
  failsAt(inPart, hex('0000000000000008 02 ff00'), { code: 'unknown-block', found: '0xff00' }, 8);
});

test('a zero page must be filled with zeros', () => {
  failsAt(inPart, zeroRecord(0, 'pc.ram', 0xff), { code: 'bad-page', found: '0xff', expected: '0' }, 15);
  failsAt(
    concatBytes([inPart, zeroRecord(0, 'pc.ram')]),
    zeroRecord(1, undefined, 1),
    { code: 'bad-page' },
    8,
  );
});

test('flags that are not legal', () => {
  const illegal = [
    0,
    RamFlag.continue,
    RamFlag.eos | RamFlag.continue,
    RamFlag.multifdFlush | RamFlag.continue,
    RamFlag.memSize | RamFlag.continue,
    RamFlag.page | RamFlag.zero,
    RamFlag.page | RamFlag.eos,
    RamFlag.page | RamFlag.memSize,
    0x001,
    0x400,
    0x800,
  ];
  for (const flags of illegal) failsAt(inPart, encodeRamWord(0, flags), { code: 'unknown-flag' });
  failsAt(inPart, encodeRamWord(4096, RamFlag.eos), { code: 'unknown-flag', found: '0x0000000000001010' });
  failsAt(inPart, encodeRamWord(4096, RamFlag.multifdFlush), { code: 'unknown-flag' });
});

test('XBZRLE records: named, continued, and without a change', () => {
  const { messages } = decode([
    inPart,
    hex('0000000000003040 06 70632e72616d 01 0009 0503aabbcca4020101'),
    hex('0000000000002060 01 0000'),
    zeroRecord(1),
    endOfRam,
  ]);
  assert.deepEqual(messages.slice(-5, -2), [
    { type: 'ram-xbzrle', blockIndex: 0, pageIndex: 3, data: hex('0503aabbcca4020101') },
    { type: 'ram-xbzrle', blockIndex: 0, pageIndex: 2, data: hex('') },
    { type: 'ram-zero', blockIndex: 0, pageIndex: 1 },
  ] satisfies StreamMessage[]);
});

test('XBZRLE records that are wrong', () => {
  const named = hex('0000000000003040 06 70632e72616d');
  const wrong = (rest: string, error: object, at: number) =>
    failsAt(inPart, concatBytes([named, hex(rest)]), error, named.length + at);
  wrong('00 0009 05', { code: 'bad-compressed-data', found: '0x0', expected: '0x1' }, 0);
  wrong('01 1001', { code: 'limit-exceeded', found: '4097', expected: 'at most 4096' }, 1);
  wrong('01 0003 05 02 aa', { code: 'bad-compressed-data', found: '0x02aa' }, 4);
  wrong('01 0002 05 02', { code: 'bad-compressed-data', found: '0x02' }, 4);
  wrong('01 0002 8501', { code: 'bad-compressed-data', found: 'the end' }, 5);
  failsAt(inPart, hex('0000000000003060 01 0003 000101'), {
    code: 'bad-page',
    message: /CONTINUE before any block/,
  });
  failsAt(inPart, hex('0000000000004040 06 70632e72616d 01 0003 000101'), {
    code: 'bad-page',
    found: '0x4000',
  });
});

test('records of capabilities that are not supported name them', () => {
  const cases: [number, RegExp][] = [[RamFlag.hook, /RDMA/]];
  for (const [flags, message] of cases) {
    failsAt(inPart, encodeRamWord(0, flags), { code: 'unsupported', message });
  }
});

test('a compressed page is a message with its zlib stream, however it is cut', () => {
  const record = concatBytes([
    encodeRamWord(0x1000, RamFlag.compressPage),
    hex('06 70632e72616d 00000003 aabbcc'),
    encodeRamWord(0x2000, RamFlag.compressPage | RamFlag.continue),
    hex('00000000'),
  ]);
  const expected = [
    { type: 'ram-compressed-page', blockIndex: 0, pageIndex: 1, data: [0xaa, 0xbb, 0xcc] },
    { type: 'ram-compressed-page', blockIndex: 0, pageIndex: 2, data: [] },
  ];
  for (const step of [1, 7, record.length]) {
    const decoder = new StreamDecoder();
    decoder.push(inPart);
    const seen: object[] = [];
    for (let at = 0; at < record.length; at += step) {
      decoder.push(record.subarray(at, at + step));
      for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
        if (message.type === 'ram-compressed-page') seen.push({ ...message, data: [...message.data] });
      }
    }
    assert.deepEqual(seen, expected, `${step} bytes at a time`);
  }
});

test('the length of a compressed page is bounded before it is waited for', () => {
  const head = [encodeRamWord(0, RamFlag.compressPage), hex('06 70632e72616d')];
  const at = 8 + 7;
  failsAt(
    inPart,
    concatBytes([...head, hex('0000100f')]),
    { code: 'limit-exceeded', found: '4111 bytes' },
    at,
  );
  failsAt(inPart, concatBytes([...head, hex('ffffffff')]), { code: 'limit-exceeded' }, at);
  failsAt(inPart, encodeRamWord(0, RamFlag.compressPage | RamFlag.continue), {
    code: 'bad-page',
    message: /CONTINUE before/,
  });
});

test('the block list comes once, at the head of START', () => {
  const second = { code: 'bad-section', message: /second RAM block list/ };
  failsAt(inPart, encodeRamBlocks(20480, BLOCKS), second);
  failsAt(start, encodeRamBlocks(20480, BLOCKS), second);
  const none = { code: 'bad-section', message: /no block list/ };
  failsAt(concatBytes([head, RAM_START]), encodeEos(), none);
  failsAt(concatBytes([head, RAM_START]), zeroRecord(0, 'pc.ram'), none);
  failsAt(concatBytes([head, RAM_START]), encodeRamWord(4096, RamFlag.memSize | RamFlag.continue), none);
});

test('block lists whose lengths are wrong', () => {
  const prefix = concatBytes([head, RAM_START]);
  failsAt(prefix, list(0), { code: 'limit-exceeded', found: '0' });
  failsAt(prefix, list(2 ** 46 + 4096, 4096), { code: 'limit-exceeded' });
  failsAt(prefix, hex('0020000000000004'), { code: 'limit-exceeded', message: /2\^53/ });
  failsAt(prefix, list(8192, 0), { code: 'bad-section', found: '0' }, 10);
  failsAt(prefix, list(8192, 4095), { code: 'bad-section', found: '4095' }, 10);
  failsAt(
    prefix,
    list(8192, 4096, 8192),
    { code: 'bad-section', found: '8192', message: /at most 4096/ },
    20,
  );
  failsAt(prefix, hex('0000000000001004 01 61 ffffffffffffffff'), { code: 'limit-exceeded' }, 10);
  const twice = [BLOCKS[1]!, BLOCKS[1]!, BLOCKS[1]!];
  failsAt(
    prefix,
    encodeRamBlocks(3 * 4096, twice),
    { code: 'bad-section', message: /twice: found pc.bios/ },
    40,
  );
  failsAt(prefix, hex('0000000000001004 00'), { code: 'bad-section' }, 8);
});

test('the number of blocks is bounded', () => {
  const blocks = Array.from({ length: 1025 }, (_, i) => ({ idstr: `b${i}`, usedLengthBytes: 4096 }));
  const bytes = encodeRamBlocks(1025 * 4096, blocks);
  failsAt(
    concatBytes([head, RAM_START]),
    bytes,
    { code: 'limit-exceeded', found: '1025' },
    bytes.length - 14,
  );
  const { messages } = decode([head, RAM_START, encodeRamBlocks(1024 * 4096, blocks.slice(0, 1024))]);
  const message = messages.at(-1);
  assert.ok(message?.type === 'ram-blocks');
  assert.equal(message.blocks.length, 1024);
});

test('x-ignore-shared adds an address to each entry', () => {
  const configuration = encodeConfiguration({ machine: 'pc', capabilities: ['x-ignore-shared'] });
  const { messages } = decode([
    encodeStreamHeader(),
    configuration,
    RAM_START,
    encodeRamWord(20480, RamFlag.memSize),
    ...BLOCKS.flatMap((block) => [encodeRamBlockEntry(block), hex('ffffffffffff0000')]),
    encodeEos(),
  ]);
  assert.deepEqual(messages.slice(-2), [
    {
      type: 'ram-blocks',
      totalBytes: 20480,
      blocks: BLOCKS.map((block) => ({ ...block, guestPhysicalAddress: 0xffff_ffff_ffff_0000n })),
    },
    { type: 'ram-eos' },
  ]);
});

test('mapped-ram with x-ignore-shared is refused', () => {
  const configuration = encodeConfiguration({
    machine: 'pc',
    capabilities: ['x-ignore-shared', 'mapped-ram'],
  });
  const prefix = concatBytes([encodeStreamHeader(), configuration, RAM_START]);
  failsAt(prefix, list(4096, 4096), {
    code: 'unsupported',
    message: /mapped-ram together with x-ignore-shared/,
  });
});

const MAPPED = concatBytes([
  encodeStreamHeader(),
  encodeConfiguration({ machine: 'pc', capabilities: ['mapped-ram'] }),
  RAM_START,
  encodeRamWord(20480, RamFlag.memSize),
  encodeRamBlockEntry(BLOCKS[0]!),
]);

test('a mapped-ram header must lie before its bitmap and that before its pages', () => {
  const bitmapOffset = MAPPED.length + 28;
  const good = { version: 1, pageSizeBytes: 4096, bitmapOffset, pagesOffset: 4096 };
  const wrong = (header: Partial<typeof good>, error: object, at: number) =>
    failsAt(MAPPED, encodeMappedRamHeader({ ...good, ...header }), error, at);
  wrong({ version: 2 }, { code: 'bad-version', found: '2' }, 0);
  wrong({ pageSizeBytes: 16384 }, { code: 'bad-file', found: '16384' }, 4);
  wrong({ bitmapOffset: bitmapOffset - 1 }, { code: 'bad-file', message: /bitmap offset/ }, 12);
  wrong({ pagesOffset: 0 }, { code: 'bad-file', message: /pages offset/ }, 20);
  wrong({ bitmapOffset: 4096 - 7 }, { code: 'bad-file', message: /pages offset/ }, 20);
  wrong({ pagesOffset: 4097 }, { code: 'bad-file', message: /pages offset/ }, 20);
  wrong({ pagesOffset: 2 ** 53 - 4096 }, { code: 'bad-file', message: /pages offset/ }, 20);
});

test('which words a search takes for a RAM record', () => {
  for (const flags of [0x10, 0x200, 0x08, 0x28, 0x02, 0x22, 0x40, 0x120]) {
    assert.ok(isPlausibleRamWord(0, flags), `0x${flags.toString(16)}`);
  }
  for (const flags of [0, 0x30, 0x0a, 0x04, 0x80, 0x400]) {
    assert.ok(!isPlausibleRamWord(0, flags), `0x${flags.toString(16)}`);
  }
  assert.ok(!isPlausibleRamWord(1, 0x10));
  assert.ok(isPlausibleRamWord(1, 0x1008));
  assert.ok(!isPlausibleRamWord(0x4000, 0x08));
});
