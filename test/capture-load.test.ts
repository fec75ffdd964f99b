import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import test from 'node:test';
import {
  type CaptureFormat,
  extractBlock,
  inspectCapture,
  loadCapture,
  writeCapture,
} from '@pageferry/core/capture';
import { StreamDecoder } from '@pageferry/core/wire';
import {
  assertRecordedRam,
  assertSameMachine,
  captureBytes,
  isLoadable,
  loadableFixtures,
  loadFixture,
  placeFixture,
  TemporaryFolder,
} from './lib/capture-files.ts';
import { assertRamMatches, findFixture, listFixtures, readMeta } from './lib/fixtures.ts';

const FORMATS: readonly CaptureFormat[] = ['mapped-ram', 'stream'];

test('there are fixtures of every kind to load', () => {
  const paths = loadableFixtures().map((fixture) => fixture.path);
  for (const path of ['10.0/mapped-ram', '10.0/mapped-ram-multifd', '10.0/precopy', '7.2/precopy']) {
    assert.ok(paths.includes(path), path);
  }
  assert.ok(paths.length >= 15, `${paths.length} fixtures`);
});

for (const fixture of loadableFixtures()) {
  test(`${fixture.path} loads, and is the same after a way through each format`, async () => {
    await using folder = await TemporaryFolder.create();
    const capture = await loadFixture(folder, fixture.path);
    const meta = readMeta(fixture);
    assertRecordedRam(fixture, capture);
    assert.equal(capture.configuration.machine, meta.stream_summary.machine);
    assert.equal(capture.format, fixture.path.includes('/mapped-ram') ? 'mapped-ram' : 'stream');
    assert.equal(capture.proven, true);
    assert.deepEqual(
      capture.deviceState.sections.map((section) => [section.idstr, section.data.length]),
      meta.stream_summary.device_sections,
    );
    assert.equal(capture.stats.endOffset, captureBytes(fixture).length);
    assert.equal(capture.stats.missingPages, 0);
    for (const format of FORMATS) {
      const path = folder.file(`again.${format}`);
      await writeCapture(path, format, capture);
      const again = await loadCapture(path);
      assert.equal(again.format, format);
      assert.deepEqual(again.configuration.capabilities ?? [], format === 'mapped-ram' ? ['mapped-ram'] : []);
      assertSameMachine(again, capture);
    }
  });
}

for (const name of ['mapped-ram', 'mapped-ram-multifd', 'mapped-ram-paused']) {
  test(`10.0/${name} is written again byte for byte as QEMU wrote it`, async () => {
    await using folder = await TemporaryFolder.create();
    const recorded = await placeFixture(folder, `10.0/${name}`);
    await writeCapture(folder.file('again'), 'mapped-ram', await loadCapture(recorded));
    // In these the guest's pages were written once: nothing stale is in a hole.
    assert.ok((await readFile(recorded)).equals(await readFile(folder.file('again'))));
  });
}

for (const path of ['7.2/stop-and-copy', '10.0/stop-and-copy']) {
  test(`${path} is written again byte for byte as QEMU wrote it`, async () => {
    await using folder = await TemporaryFolder.create();
    const recorded = await placeFixture(folder, path);
    await writeCapture(folder.file('again'), 'stream', await loadCapture(recorded));
    assert.ok((await readFile(recorded)).equals(await readFile(folder.file('again'))));
  });
}

test('a stream that does not begin at the start of the file loads', async () => {
  await using folder = await TemporaryFolder.create();
  const capture = await loadFixture(folder, '7.2/stop-and-copy');
  const path = folder.file('shifted');
  await writeFile(
    path,
    Buffer.concat([Buffer.alloc(12_345, 0x51), captureBytes(findFixture('7.2/stop-and-copy'))]),
  );
  const shifted = await loadCapture(path, { offsetBytes: 12_345 });
  assertSameMachine(shifted, capture);
  assert.equal(shifted.stats.endOffset, capture.stats.endOffset + 12_345);
  await assert.rejects(loadCapture(path), { code: 'bad-magic', offset: 0 });
});

test('progress grows up to the size of the file', async () => {
  await using folder = await TemporaryFolder.create();
  for (const path of ['10.0/mapped-ram', '10.0/precopy']) {
    const seen: number[] = [];
    const capture = await loadCapture(await placeFixture(folder, path), {
      onProgress: ({ doneBytes, totalBytes }) => {
        assert.equal(totalBytes, captureBytes(findFixture(path)).length);
        seen.push(doneBytes);
      },
    });
    assert.deepEqual(
      seen,
      seen.toSorted((one, other) => one - other),
    );
    assert.equal(seen.at(-1), capture.stats.fileBytes);
  }
});

/** What cannot be loaded from one file, and why: the parts of the protocol that this waits for. */
const REFUSED: Readonly<Record<string, [code: string, message: RegExp]>> = {
  multifd: ['unsupported', /main channel of a multifd migration alone/],
  'postcopy-ram': ['unsupported', /postcopy/],
  'dirty-bitmaps': ['unsupported', /dirty-bitmap/],
  block: ['unsupported', /block migration/],
};

for (const fixture of listFixtures()) {
  if (isLoadable(fixture) || fixture.capabilities.includes('x-ignore-shared')) continue;
  test(`${fixture.path} is refused by name`, async () => {
    await using folder = await TemporaryFolder.create();
    // Block migration was an argument, not a capability.
    const names = [...fixture.capabilities, fixture.path.slice(fixture.path.indexOf('/') + 1)];
    const capability = names.find((name) => REFUSED[name] !== undefined);
    const [code, message] = capability === undefined ? ['truncated', /ends/] : REFUSED[capability]!;
    const path = await placeFixture(folder, fixture.path);
    await assert.rejects(loadCapture(path), (error: Error & Record<string, unknown>) => {
      assert.equal(error.code, code);
      assert.match(error.message, message as RegExp);
      assert.equal(error.channel, path);
      assert.equal(typeof error.offset, 'number');
      return true;
    });
  });
}

for (const path of ['7.2/ignore-shared', '10.0/ignore-shared']) {
  test(`${path} loads without what was shared, and is the same when written again`, async () => {
    await using folder = await TemporaryFolder.create();
    const fixture = findFixture(path);
    const capture = await loadFixture(folder, path);
    const elsewhere = capture.memory.filter((block) => block.elsewhere).map(({ idstr }) => idstr);
    assert.deepEqual(elsewhere, ['pc.ram']);
    assert.equal(capture.stats.missingPages, 0);
    for (const block of capture.memory) {
      if (block.elsewhere) assert.ok(block.shared && block.guestPhysicalAddress === 0n);
      else assertRamMatches(fixture, block.idstr, block.bytes);
    }
    const again = folder.file('again');
    await writeCapture(again, 'stream', capture);
    const found = await loadCapture(again);
    assertSameMachine(found, capture);
    const states = (machine: typeof capture) => machine.memory.map((block) => block.toMemory().elsewhere);
    assert.deepEqual(states(found), states(capture));
    assert.deepEqual(found.configuration.capabilities, ['x-ignore-shared']);
    await assert.rejects(writeCapture(folder.file('mapped'), 'mapped-ram', capture), {
      code: 'unsupported',
      message: /x-ignore-shared/,
    });
    await assert.rejects(extractBlock(again, 'pc.ram', folder.file('ram')), {
      code: 'unsupported',
      message: /pc\.ram was shared memory/,
    });
    await extractBlock(again, 'pc.rom', folder.file('rom'));
    assertRamMatches(fixture, 'pc.rom', await readFile(folder.file('rom')));
  });
}

test('a stream that does not say which machine it is needs to be told, and is compared when it says', async () => {
  await using folder = await TemporaryFolder.create();
  const machine = 'pc-i440fx-7.2';
  const whole = captureBytes(findFixture('7.2/precopy'));
  // Behind header and type the configuration is a length and the name.
  const nameless = Buffer.concat([whole.subarray(0, 8), whole.subarray(8 + 1 + 4 + machine.length)]);
  const path = folder.file('nameless');
  await writeFile(path, nameless);
  await assert.rejects(loadCapture(path), { code: 'bad-file', message: /which machine it is must be told/ });
  const capture = await loadCapture(path, { machine });
  assert.deepEqual(capture.configuration, { machine });
  assertRecordedRam(findFixture('7.2/precopy'), capture);
  const named = await placeFixture(folder, '7.2/precopy');
  await loadCapture(named, { machine });
  await assert.rejects(loadCapture(named, { machine: 'pc-i440fx-2.3' }), { code: 'bad-configuration' });
});

test('what is no capture is refused by kind', async () => {
  await using folder = await TemporaryFolder.create();
  await writeFile(folder.file('empty'), '');
  await writeFile(folder.file('text'), 'this is not a virtual machine');
  await assert.rejects(loadCapture(folder.file('empty')), { code: 'truncated', offset: 0 });
  await assert.rejects(loadCapture(folder.file('text')), { code: 'bad-magic', offset: 0 });
  await assert.rejects(loadCapture(folder.file('missing')), { code: 'file-failed' });
  await assert.rejects(loadCapture(folder.path), { code: 'bad-file' });
  await assert.rejects(loadCapture('/dev/zero'), { code: 'bad-file' });
});

test('a guest larger than the limit is refused before its memory is taken', async () => {
  await using folder = await TemporaryFolder.create();
  const path = await placeFixture(folder, '10.0/stop-and-copy');
  const limited = loadCapture(path, { maxRamBytes: 16 * 1024 * 1024 });
  await assert.rejects(limited, { code: 'limit-exceeded', channel: path, offset: 44 });
});

test('a file that claims more RAM than any host has is refused', async () => {
  await using folder = await TemporaryFolder.create();
  const bytes = captureBytes(findFixture('10.0/stop-and-copy')).slice();
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const total = Buffer.from(bytes).indexOf('pc.ram') - 1 - 8;
  const grown = 2n ** 45n - BigInt(16 * 1024 * 1024);
  view.setBigUint64(total, view.getBigUint64(total) + grown);
  view.setBigUint64(total + 8 + 7, view.getBigUint64(total + 8 + 7) + grown);
  await writeFile(folder.file('huge'), bytes);
  await assert.rejects(loadCapture(folder.file('huge')), { code: 'limit-exceeded' });
  const unlimited = loadCapture(folder.file('huge'), { maxRamBytes: Number.MAX_SAFE_INTEGER });
  await assert.rejects(unlimited, {
    code: 'limit-exceeded',
    message: /not enough memory for the RAM block pc\.ram/,
  });
});

test('loading stops when the caller gives up', async () => {
  await using folder = await TemporaryFolder.create();
  for (const path of ['10.0/mapped-ram', '10.0/precopy']) {
    const signal = AbortSignal.abort();
    await assert.rejects(loadCapture(await placeFixture(folder, path), { signal }), { code: 'cancelled' });
  }
});

test('a compressed page that cannot be inflated is damage, with its place', async () => {
  await using folder = await TemporaryFolder.create();
  const bytes = captureBytes(findFixture('7.2/compress')).slice();
  const decoder = new StreamDecoder();
  decoder.push(bytes);
  let message = decoder.next();
  while (message?.type !== 'ram-compressed-page') message = decoder.next();
  const offset = decoder.offset - message.data.length;
  // The last byte of the checksum.
  bytes[decoder.offset - 1]! ^= 1;
  const path = folder.file('flipped');
  await writeFile(path, bytes);
  await assert.rejects(loadCapture(path), { code: 'bad-compressed-data', channel: path, offset });
  assert.equal((await inspectCapture(path)).damage?.code, 'bad-compressed-data');
});
