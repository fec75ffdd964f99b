import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import test from 'node:test';
import { type CaptureReport, inspectCapture, loadCapture, writeCapture } from '@pageferry/core/capture';
import {
  captureBytes,
  isLoadable,
  loadableFixtures,
  loadFixture,
  placeFixture,
  TemporaryFolder,
} from './lib/capture-files.ts';
import { type Fixture, findFixture, listFixtures, readMeta, readPageDigests } from './lib/fixtures.ts';

/** First 8 bytes of the SHA-256 of 4096 zeros. */
const ZERO_DIGEST = 'ad7facb2586fc6e9';

/** Zero, unique and duplicate pages per block, counted from the recorded digests of the RAM. */
function countDigests(fixture: Fixture, idstrs: readonly string[]): [string, number, number, number][] {
  const seen = new Set<string>();
  return idstrs.map((idstr) => {
    const digests = Buffer.from(readPageDigests(fixture, idstr));
    const counts = { zero: 0, unique: 0, duplicate: 0 };
    for (let at = 0; at < digests.length; at += 8) {
      const digest = digests.toString('hex', at, at + 8);
      if (digest === ZERO_DIGEST) counts.zero++;
      else if (seen.has(digest)) counts.duplicate++;
      else counts.unique++;
      seen.add(digest);
    }
    return [idstr, counts.zero, counts.unique, counts.duplicate];
  });
}

for (const fixture of loadableFixtures()) {
  test(`${fixture.path} is described as it was recorded`, async () => {
    await using folder = await TemporaryFolder.create();
    const path = await placeFixture(folder, fixture.path);
    const report = await inspectCapture(path);
    const meta = readMeta(fixture);
    const bytes = captureBytes(fixture);
    const mapped = fixture.path.includes('/mapped-ram');
    assert.deepEqual(JSON.parse(JSON.stringify(report)), report, 'the report is plain');
    assert.equal(report.damage, undefined);
    assert.equal(report.path, path);
    assert.equal(report.fileBytes, bytes.length);
    assert.equal(report.endOffset, bytes.length);
    assert.equal(report.trailingBytes, 0);
    assert.equal(report.format, mapped ? 'mapped-ram' : 'stream');
    assert.equal(report.configuration?.machine, meta.stream_summary.machine);
    assert.equal(report.configuration.uuid?.replaceAll('-', '') ?? null, meta.stream_summary.uuid);
    assert.deepEqual(report.configuration.capabilities, mapped ? ['mapped-ram'] : []);

    const blocks = report.ram!.blocks;
    assert.deepEqual(
      blocks.map((block) => [block.idstr, block.zeroPages, block.uniquePages, block.duplicatePages]),
      countDigests(
        fixture,
        blocks.map((block) => block.idstr),
      ),
    );
    assert.deepEqual(
      Object.fromEntries(blocks.map((block) => [block.idstr, block.bytes])),
      Object.fromEntries(Object.entries(fixture.expected_ram).map(([idstr, { size }]) => [idstr, size])),
    );
    const { pages } = report.ram!;
    assert.equal(pages.pages * 4096, report.ram!.totalBytes);
    assert.equal(pages.zeroPages + pages.uniquePages + pages.duplicatePages, pages.pages);
    assert.equal(pages.missingPages, 0);
    if (!mapped) {
      const { page = 0, compress = 0 } = fixture.records;
      assert.equal(pages.pagesInFile, page + compress);
      assert.equal(pages.compressedRecords, compress);
      assert.equal(pages.zeroRecords, fixture.records.zero);
      assert.equal(pages.xbzrleRecords, fixture.records.xbzrle ?? 0);
    }
    assert.deepEqual(
      report.devices.map((device) => [device.idstr, device.bytes]),
      meta.stream_summary.device_sections,
    );
    const commands: Record<string, number> = {};
    for (const { name } of report.commands) commands[name] = (commands[name] ?? 0) + 1;
    assert.deepEqual(commands, fixture.commands);
    checkOffsets(report, bytes);
  });
}

/** At every offset of the report there is what the report says. */
function checkOffsets(report: CaptureReport, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  assert.equal(bytes[report.configuration!.offset], 0x07);
  const afterConfiguration = report.configuration!.offset + report.configuration!.bytes;
  assert.equal(bytes[report.ram!.offset], 0x01);
  assert.ok(afterConfiguration <= report.ram!.offset);
  assert.equal(view.getUint32(report.ram!.offset + 1), report.ram!.sectionId);
  for (const command of report.commands) {
    assert.equal(bytes[command.offset], 0x08);
    assert.equal(view.getUint16(command.offset + 3), command.payloadBytes);
  }
  let end = 0;
  for (const device of report.devices) {
    assert.ok(device.offset >= end);
    assert.equal(bytes[device.offset], 0x04);
    assert.equal(view.getUint32(device.offset + 1), device.sectionId);
    const nameAt = device.offset + 6;
    const dataAt = nameAt + device.idstr.length + 8;
    const name = bytes.subarray(nameAt, nameAt + device.idstr.length);
    assert.equal(Buffer.from(name).toString(), device.idstr);
    assert.equal(view.getUint32(dataAt - 8), device.instanceId);
    assert.equal(view.getUint32(dataAt - 4), device.versionId);
    assert.equal(bytes[dataAt + device.bytes], 0x7e);
    assert.equal(view.getUint32(dataAt + device.bytes + 1), device.sectionId);
    end = dataAt + device.bytes + 5;
  }
  const vmdesc = report.vmdesc!;
  assert.equal(vmdesc.offset, end + 1);
  assert.equal(bytes[vmdesc.offset], 0x06);
  assert.equal(view.getUint32(vmdesc.offset + 1), vmdesc.bytes);
  assert.equal(vmdesc.proven, true);
}

test('the blocks of a mapped-ram file say where they are', async () => {
  await using folder = await TemporaryFolder.create();
  const report = await inspectCapture(await placeFixture(folder, '10.0/mapped-ram'));
  assert.deepEqual(
    report.ram!.blocks.map(({ idstr, bitmapOffset, pagesOffset }) => [idstr, bitmapOffset, pagesOffset]),
    [
      ['pc.ram', 0x8e, 0x100000],
      ['pc.rom', 0x110002b, 0x1200000],
      ['pc.bios', 0x122002c, 0x1300000],
    ],
  );
  // As many as set bits in the bitmaps.
  const image = captureBytes(findFixture('10.0/mapped-ram'));
  for (const block of report.ram!.blocks) {
    let set = 0;
    for (let page = 0; page < block.pages; page++) {
      if ((image[block.bitmapOffset! + (page >> 3)]! & (1 << (page & 7))) !== 0) set++;
    }
    assert.equal(block.pagesInFile, set, block.idstr);
  }
});

test('fields of a device come from the vmdescription', async () => {
  await using folder = await TemporaryFolder.create();
  const { devices } = await inspectCapture(await placeFixture(folder, '10.0/precopy'));
  const timer = devices.find((device) => device.idstr === 'timer');
  assert.deepEqual(timer?.fields, [
    { name: 'cpu_ticks_offset', type: 'int64', sizeBytes: 8 },
    { name: 'unused', type: 'unused_buffer', sizeBytes: 8 },
    { name: 'cpu_clock_offset', type: 'int64', sizeBytes: 8 },
  ]);
  const cpu = devices.find((device) => device.idstr === 'cpu');
  const registers = cpu?.fields?.find((field) => field.name === 'env.regs');
  assert.equal(registers?.type, 'uint64');
  assert.equal(registers.arrayLength, 16);
  // Every section is described, and the fields add up to it.
  for (const device of devices) {
    assert.ok(device.fields !== undefined, device.idstr);
    const fields = device.fields.reduce((sum, field) => sum + (field.arrayLength ?? 1) * field.sizeBytes, 0);
    if (device.subsections === undefined) assert.equal(fields, device.bytes, device.idstr);
  }
});

test('the run state is told', async () => {
  await using folder = await TemporaryFolder.create();
  for (const [path, state] of [
    ['10.0/mapped-ram', 'running'],
    ['10.0/mapped-ram-paused', 'paused'],
    ['7.2/precopy', 'running'],
    ['7.2/stop-and-copy', 'paused'],
  ] as const) {
    assert.equal((await inspectCapture(await placeFixture(folder, path))).runState, state, path);
  }
});

test('it is told how to load a file', async () => {
  await using folder = await TemporaryFolder.create();
  const mapped = await placeFixture(folder, '10.0/mapped-ram');
  const { loads } = await inspectCapture(mapped);
  assert.equal(loads?.minimumQemuVersion, '10.0');
  assert.equal(
    loads.commandLine,
    'qemu-system-x86_64 -machine pc-i440fx-10.0,acpi=off -m 16M -bios FIRMWARE -nodefaults -serial null ' +
      '-qmp unix:qmp.sock,server=on,wait=off -incoming defer',
  );
  assert.deepEqual(
    loads.qmp.map((command) => JSON.parse(command)),
    [
      { execute: 'qmp_capabilities' },
      {
        execute: 'migrate-set-capabilities',
        arguments: { capabilities: [{ capability: 'mapped-ram', state: true }] },
      },
      { execute: 'migrate-incoming', arguments: { uri: `file:${mapped}` } },
    ],
  );
  assert.ok(loads.notes.some((note) => note.includes('exactly 64 KiB')));

  const stream = await placeFixture(folder, '7.2/validate-uuid');
  const plain = (await inspectCapture(stream)).loads;
  assert.equal(plain?.minimumQemuVersion, '7.2');
  assert.deepEqual(plain.qmp, []);
  assert.equal(
    plain.commandLine,
    `qemu-system-x86_64 -machine pc-i440fx-7.2,acpi=off -m 16M -bios FIRMWARE -uuid 6f1ed002-ab60-4a2c-8a3f-0123456789ab -nodefaults ` +
      `-serial null -incoming 'exec:cat ${stream}'`,
  );
  const old = folder.file('old');
  await writeCapture(old, 'mapped-ram', await loadCapture(stream));
  assert.equal((await inspectCapture(old)).loads?.minimumQemuVersion, '9.0', 'mapped-ram is younger');
});

for (const fixture of listFixtures()) {
  if (isLoadable(fixture)) continue;
  test(`${fixture.path}, which is no whole capture, is described up to what is missing`, async () => {
    await using folder = await TemporaryFolder.create();
    const report = await inspectCapture(await placeFixture(folder, fixture.path));
    if (fixture.capabilities.includes('x-ignore-shared')) {
      assert.equal(report.damage, undefined);
      assert.equal(report.ram!.pages.missingPages, 4096);
      assert.ok(report.loads?.notes.some((note) => note.includes('x-ignore-shared')));
    } else {
      assert.equal(typeof report.damage?.offset, 'number');
    }
    assert.equal(report.configuration?.machine, readMeta(fixture).stream_summary.machine);
  });
}

test('duplicate pages of two blocks, and a page that changes in a later pass, are counted once', async () => {
  await using folder = await TemporaryFolder.create();
  const capture = await loadFixture(folder, '10.0/stop-and-copy');
  const [ram, rom] = capture.memory;
  ram!.bytes.fill(0);
  rom!.bytes.fill(0);
  ram!.bytes.fill(0x11, 0, 4096);
  rom!.bytes.fill(0x11, 4096, 8192);
  rom!.bytes.fill(0x22, 8192, 12_288);
  const path = folder.file('edited');
  await writeCapture(path, 'stream', capture);
  const counts = (report: CaptureReport) =>
    report.ram!.blocks.slice(0, 2).map(({ zeroPages, uniquePages, duplicatePages, pagesInFile }) => ({
      zeroPages,
      uniquePages,
      duplicatePages,
      pagesInFile,
    }));
  assert.deepEqual(counts(await inspectCapture(path)), [
    { zeroPages: 4095, uniquePages: 1, duplicatePages: 0, pagesInFile: 1 },
    { zeroPages: 30, uniquePages: 1, duplicatePages: 1, pagesInFile: 2 },
  ]);
  // A further page record, of page 0, before the EOS of the PART: it takes the place of the first one.
  const bytes = await readFile(path);
  const end = Buffer.from('00000000000000107e', 'hex');
  const name = Buffer.from('\u0006pc.ram');
  const record = Buffer.concat([Buffer.from('0000000000000008', 'hex'), name, Buffer.alloc(4096, 0x22)]);
  const partEnd = bytes.indexOf(end, bytes.indexOf(end) + 9);
  const again = Buffer.concat([bytes.subarray(0, partEnd), record, bytes.subarray(partEnd)]);
  await writeFile(path, again);
  assert.deepEqual(counts(await inspectCapture(path)), [
    { zeroPages: 4095, uniquePages: 1, duplicatePages: 0, pagesInFile: 2 },
    { zeroPages: 30, uniquePages: 1, duplicatePages: 1, pagesInFile: 2 },
  ]);
});

test('a small file that claims terabytes is described without taking the memory', async () => {
  await using folder = await TemporaryFolder.create();
  const bytes = captureBytes(findFixture('10.0/stop-and-copy')).slice();
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const total = Buffer.from(bytes).indexOf('pc.ram') - 1 - 8;
  const grown = 2n ** 45n - BigInt(16 * 1024 * 1024);
  view.setBigUint64(total, view.getBigUint64(total) + grown);
  view.setBigUint64(total + 8 + 7, view.getBigUint64(total + 8 + 7) + grown);
  await writeFile(folder.file('huge'), bytes);
  const before = process.memoryUsage().rss;
  const report = await inspectCapture(folder.file('huge'));
  assert.ok(process.memoryUsage().rss - before < 200 * 1024 * 1024);
  assert.equal(report.damage, undefined);
  assert.equal(report.ram!.blocks[0]!.bytes, 2 ** 45);
  assert.equal(report.ram!.blocks[0]!.missingPages, 2 ** 33 - 4096);
});

test('only a file that cannot be opened makes it throw', async () => {
  await using folder = await TemporaryFolder.create();
  await assert.rejects(inspectCapture(folder.file('missing')), { code: 'file-failed' });
  await writeFile(folder.file('empty'), '');
  await writeFile(folder.file('text'), 'this is not a virtual machine');
  const empty = await inspectCapture(folder.file('empty'));
  assert.deepEqual([empty.damage?.code, empty.damage?.offset, empty.devices], ['truncated', 0, []]);
  const text = await inspectCapture(folder.file('text'));
  assert.deepEqual([text.damage?.code, text.damage?.offset], ['bad-magic', 0]);
  await assert.rejects(inspectCapture(folder.file('text'), { signal: AbortSignal.abort() }), {
    code: 'cancelled',
  });
});
