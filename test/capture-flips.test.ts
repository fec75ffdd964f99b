import assert from 'node:assert/strict';
import { type FileHandle, open } from 'node:fs/promises';
import test from 'node:test';
import { ERROR_CODES } from '@pageferry/core';
import { inspectCapture } from '@pageferry/core/capture';
import { captureBytes, loadError, placeFixture, sequence, TemporaryFolder } from './lib/capture-files.ts';
import { findFixture } from './lib/fixtures.ts';

for (const fixture of ['10.0/mapped-ram', '7.2/stop-and-copy']) {
  test(`${fixture} with a flipped bit loads or is refused, and can always be inspected`, async () => {
    await using folder = await TemporaryFolder.create();
    const path = await placeFixture(folder, fixture);
    const bytes = captureBytes(findFixture(fixture));
    const whole = await inspectCapture(path);
    const places = new Set<number>();
    const random = sequence(2);
    for (let at = 0; at < 0x8e; at++) places.add(at);
    for (const device of whole.devices.filter((_, index) => index % 3 === 0)) {
      for (const at of [0, 1, 4, 5, 6, device.idstr.length + 6, device.idstr.length + 13]) {
        places.add(device.offset + at);
      }
      places.add(device.offset + 14 + device.idstr.length + device.bytes);
    }
    for (let at = -5; at < 8; at++) places.add(whole.vmdesc!.offset + at);
    for (let i = 0; i < 20; i++)
      places.add(whole.vmdesc!.offset + Math.floor(random() * whole.vmdesc!.bytes));
    for (const block of whole.ram!.blocks) {
      for (let at = 1; at <= 37; at++)
        if (block.bitmapOffset !== undefined) places.add(block.bitmapOffset - at);
    }
    const codes = new Set<string>();
    const file = await open(path, 'r+');
    try {
      for (const at of places) {
        const bit = Math.floor(random() * 8);
        await flip(file, bytes, at, 1 << bit);
        const what = `bit ${bit} of byte ${at}`;
        const error = await loadError(path, what);
        if (error !== undefined) {
          codes.add(error.code);
          assert.ok(error.code in ERROR_CODES);
          assert.ok(error.offset! <= whole.fileBytes, what);
        }
        const report = await inspectCapture(path);
        // A section that another name or length was given to can still be told apart, but it is damaged.
        const contradicted = error === undefined && report.damage?.code === 'bad-device-state';
        assert.equal(report.damage === undefined, error === undefined && !contradicted, what);
        if (contradicted) assert.equal(report.vmdesc?.proven, false, what);
        await file.write(bytes, at, 1, at);
      }
    } finally {
      await file.close();
    }
    for (const code of ['bad-magic', 'bad-version', 'bad-section', 'unknown-section', 'truncated']) {
      assert.ok(codes.has(code), `no flip gave ${code}: ${[...codes]}`);
    }
  });
}

async function flip(file: FileHandle, bytes: Uint8Array, at: number, mask: number): Promise<void> {
  await file.write(Uint8Array.of(bytes[at]! ^ mask), 0, 1, at);
}
