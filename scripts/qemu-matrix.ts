/**
 * Every way out of a QEMU times every way back into one, which is too much for the tests: prints a table with
 * one line for each pair, and ends with 1 if any failed.
 *   node --conditions=pageferry-src scripts/qemu-matrix.ts [--qemu 10.0] [--only zstd]
 */
import { parseArgs } from 'node:util';
import type { Capture, CaptureFormat } from '@pageferry/core/capture';
import { findQemu, QEMU_VERSIONS, type QemuVersion } from '../test/lib/find-qemus.ts';
import { Qemu } from '../test/lib/qemu.ts';
import { captureGuest, describeWiring, playGuest, type Wiring } from '../test/lib/qemu-moves.ts';
import { CAPTURE_WIRINGS, PLAY_WIRINGS } from '../test/lib/qemu-wirings.ts';

const { values } = parseArgs({
  options: {
    qemu: { type: 'string', multiple: true, default: [...QEMU_VERSIONS] },
    only: { type: 'string', default: '' },
  },
});
const FORMATS: readonly CaptureFormat[] = ['mapped-ram', 'stream'];
let passed = 0;
let failed = 0;

function printRow(cells: readonly string[], outcome: string): void {
  const widths = [5, 40, 11, 50];
  console.log([...cells.map((cell, column) => cell.padEnd(widths[column]!)), outcome].join(' '));
}

async function attempt<T>(cells: readonly string[], work: () => Promise<T>): Promise<T | undefined> {
  const startMs = performance.now();
  try {
    const value = await work();
    passed++;
    printRow(cells, `ok ${Math.round(performance.now() - startMs)} ms`);
    return value;
  } catch (error) {
    failed++;
    printRow(cells, `FAILED ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

async function capture(version: QemuVersion, wiring: Wiring, format: CaptureFormat): Promise<Capture> {
  await using source = await Qemu.start({ version });
  await source.waitForMoreSerial(1);
  return await captureGuest(source, wiring, format);
}

async function play(version: QemuVersion, captured: Capture, wiring: Wiring): Promise<void> {
  await using destination = await Qemu.start({ version, incoming: 'defer' });
  await playGuest(captured, destination, wiring);
}

const wanted = (wiring: Wiring) => describeWiring(wiring).includes(values.only);
for (const version of QEMU_VERSIONS.filter((name) => values.qemu.includes(name))) {
  const { missing } = findQemu(version);
  if (missing !== undefined) throw new Error(missing);
  for (const out of CAPTURE_WIRINGS.filter(wanted)) {
    for (const format of FORMATS) {
      const row = [version, describeWiring(out), format];
      const captured = await attempt([...row, '(captured)'], () => capture(version, out, format));
      if (captured === undefined) continue;
      for (const back of PLAY_WIRINGS.filter(wanted)) {
        await attempt([...row, describeWiring(back)], () => play(version, captured, back));
      }
    }
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
