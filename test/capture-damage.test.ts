import assert from 'node:assert/strict';
import { open, truncate } from 'node:fs/promises';
import test from 'node:test';
import { type CaptureReport, inspectCapture, loadCapture } from '@pageferry/core/capture';
import { captureBytes, loadError, placeFixture, sequence, TemporaryFolder } from './lib/capture-files.ts';
import { findFixture } from './lib/fixtures.ts';

const FIXTURES = ['10.0/mapped-ram', '10.0/stop-and-copy', '7.2/stop-and-copy'] as const;

/** Every place where something new begins, and the bytes around it. */
function boundaries(report: CaptureReport): number[] {
  const offsets = [
    0,
    8,
    report.configuration!.offset,
    report.ram!.offset,
    ...report.ram!.blocks.flatMap((block) => [block.bitmapOffset ?? 0, block.pagesOffset ?? 0]),
    ...report.commands.map((command) => command.offset),
    ...report.devices.map((device) => device.offset),
    report.vmdesc!.offset,
  ];
  return [...new Set(offsets.flatMap((offset) => [offset - 1, offset, offset + 1, offset + 5]))].filter(
    (offset) => offset >= 0,
  );
}

for (const fixture of FIXTURES) {
  test(`${fixture} cut anywhere is truncated, at the byte where it was cut`, async () => {
    await using folder = await TemporaryFolder.create();
    const path = await placeFixture(folder, fixture);
    const whole = await inspectCapture(path);
    const random = sequence(1);
    const cuts = new Set(boundaries(whole).filter((cut) => cut < whole.fileBytes));
    while (cuts.size < 200) cuts.add(Math.floor(random() * whole.fileBytes));
    // Without its vmdescription the stream is whole: its last section is followed by the EOF.
    const eofEnd = whole.vmdesc!.offset;
    for (const cut of [...cuts].sort((one, other) => other - one)) {
      await truncate(path, cut);
      const error = await loadError(path, `cut at ${cut}`);
      const report = await inspectCapture(path);
      assert.equal(report.fileBytes, cut);
      if (cut === eofEnd) {
        assert.equal(error, undefined);
        assert.equal(report.damage, undefined);
        assert.equal(report.vmdesc, undefined);
        continue;
      }
      assert.equal(error?.code, 'truncated', `cut at ${cut}: ${error?.message ?? 'it loads'}`);
      assert.equal(error.offset, cut);
      assert.equal(report.damage?.code, 'truncated', `cut at ${cut}`);
      assert.equal(report.damage.offset, cut);
      // Everything before the cut is reported.
      const devices = whole.devices.filter((device) => device.offset + device.bytes + 40 < cut);
      assert.deepEqual(
        report.devices.map((device) => [device.idstr, device.offset, device.bytes]).slice(0, devices.length),
        devices.map((device) => [device.idstr, device.offset, device.bytes]),
        `cut at ${cut}`,
      );
      assert.ok(report.devices.length <= devices.length + 1, `cut at ${cut}`);
      if (cut > whole.configuration!.offset + whole.configuration!.bytes) {
        assert.deepEqual(report.configuration, whole.configuration);
      }
      if (report.ram !== undefined && cut > whole.devices[0]!.offset) assert.deepEqual(report.ram, whole.ram);
      const cutBlocks = whole.ram!.blocks.filter((block) => (block.pagesOffset ?? Infinity) < cut);
      assert.ok((report.ram?.blocks.length ?? 0) >= cutBlocks.length, `cut at ${cut}`);
    }
  });
}

test('a device section that is not what the vmdescription says is named with its place', async () => {
  await using folder = await TemporaryFolder.create();
  for (const fixture of ['10.0/mapped-ram', '7.2/precopy']) {
    const path = await placeFixture(folder, fixture);
    const whole = await inspectCapture(path);
    const [before, damaged] = whole.devices.slice(8, 10);
    const file = await open(path, 'r+');
    try {
      // The footer of one section, then the name of the next one.
      const footer = damaged!.offset - 5;
      for (const [at, message] of [
        [footer, `the section of ${before!.idstr} instance 0 has no footer here`],
        [damaged!.offset + 7, `the section of ${damaged!.idstr} instance 0 does not begin here`],
      ] as const) {
        const [original] = captureBytes(findFixture(fixture)).subarray(at, at + 1);
        await file.write(Uint8Array.of(original! ^ 0x20), 0, 1, at);
        const report = await inspectCapture(path);
        assert.equal(report.damage?.code, 'bad-device-state');
        assert.equal(report.damage.message, message);
        assert.equal(report.damage.offset, at === footer ? footer : damaged!.offset);
        assert.deepEqual(report.devices.slice(0, 8), whole.devices.slice(0, 8));
        await file.write(Uint8Array.of(original!), 0, 1, at);
      }
    } finally {
      await file.close();
    }
  }
});

test('bytes behind the end of the stream are told, and do no harm', async () => {
  await using folder = await TemporaryFolder.create();
  const path = await placeFixture(folder, '10.0/mapped-ram');
  const size = (await inspectCapture(path)).fileBytes;
  await truncate(path, size + 5000);
  const report = await inspectCapture(path);
  assert.equal(report.damage, undefined);
  assert.equal(report.endOffset, size);
  assert.equal(report.trailingBytes, 5000);
  assert.equal((await loadCapture(path)).stats.endOffset, size);
});
