import { describe } from 'node:test';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { Qemu } from './lib/qemu.ts';
import { captureGuest, describeWiring, playGuest } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';
import { CAPTURE_WIRINGS, PLAY_WIRINGS } from './lib/qemu-wirings.ts';

// Each way out of QEMU is paired with another way back into it. The full cross product is scripts/qemu-matrix.ts.
const OFFSET = 5;

for (const version of QEMU_VERSIONS) {
  describe(`QEMU ${version} -> capture -> QEMU ${version}`, { concurrency: 3 }, () => {
    for (const [index, play] of PLAY_WIRINGS.entries()) {
      const capture = CAPTURE_WIRINGS[(index + OFFSET) % CAPTURE_WIRINGS.length]!;
      const format = index % 2 === 0 ? 'mapped-ram' : 'stream';
      const name = `${version}: ${describeWiring(capture)} -> ${format} -> ${describeWiring(play)}`;
      qemuTest(version, name, async () => {
        await using source = await Qemu.start({ version });
        await source.waitForMoreSerial(1);
        const captured = await captureGuest(source, capture, format);
        await using destination = await Qemu.start({ version, incoming: 'defer' });
        await playGuest(captured, destination, play);
      });
    }
  });
}
