import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { Qemu } from './lib/qemu.ts';
import { captureGuest, playGuest, type Wiring } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';

/*
 * How multifd synchronizes and where zero pages travel follow the machine type, not the QEMU that runs it:
 * pc-i440fx-7.2 on QEMU 10.0 is the old way.
 */
const machine = 'pc-i440fx-7.2';
const WIRINGS: Wiring[] = [
  { transport: 'tcp', returnPath: true },
  { transport: 'tcp', compression: 'none', channels: 2, returnPath: true },
  { transport: 'unix', compression: 'zstd', channels: 4, returnPath: false },
  { transport: 'tcp', compression: 'zlib', channels: 1, returnPath: false },
];

describe('machine pc-i440fx-7.2 on QEMU 10.0', { concurrency: 2 }, () => {
  for (const [index, wiring] of WIRINGS.entries()) {
    const { transport, compression = 'plain', channels = 0 } = wiring;
    const how = `${compression}, ${channels} channels, ${transport}`;
    // The last two go between versions: a machine type is what two QEMUs have in common.
    const [from, to] = (
      [
        ['10.0', '10.0'],
        ['10.0', '10.0'],
        ['7.2', '10.0'],
        ['10.0', '7.2'],
      ] as const
    )[index]!;

    qemuTest(QEMU_VERSIONS, `QEMU ${from} -> capture -> QEMU ${to}: ${how}`, async () => {
      await using source = await Qemu.start({ version: from, machine });
      await source.waitForMoreSerial(1);
      const capture = await captureGuest(source, wiring, 'stream');
      assert.equal(capture.configuration.machine, machine);
      await using destination = await Qemu.start({ version: to, machine, incoming: 'defer' });
      await playGuest(capture, destination, wiring);
    });
  }
});
