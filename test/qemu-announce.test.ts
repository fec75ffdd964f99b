import assert from 'node:assert/strict';
import { announceFrame, announcePauseMs, parseMac } from '@pageferry/core/guest';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { FrameCatcher } from './lib/frame-catcher.ts';
import { Qemu } from './lib/qemu.ts';
import { qemuTest } from './lib/qemu-test.ts';

/** The announcement of a QEMU's NIC, beside which a machine of ours must not be told apart. */

const MAC = '52:54:00:ab:cd:ef';

for (const version of QEMU_VERSIONS) {
  qemuTest(
    version,
    `QEMU ${version}: announce-self sends the same frames, with the same pauses`,
    async () => {
      await using catcher = await FrameCatcher.open();
      const netdev = `socket,id=net,udp=127.0.0.1:${catcher.port},localaddr=127.0.0.1:0`;
      const extraArgs = ['-netdev', netdev, '-device', `e1000,netdev=net,mac=${MAC},romfile=`];
      await using qemu = await Qemu.start({ version, extraArgs });
      const parameters = { initial: 30, max: 200, rounds: 4, step: 60 };
      await qemu.qmp.execute('announce-self', parameters);
      await catcher.caught(4);
      const expected = Buffer.from(announceFrame(parseMac(MAC)));
      for (const { bytes } of catcher.frames) assert.deepEqual(bytes, expected);
      const { initial: initialMs, max: maxMs, rounds, step: stepMs } = parameters;
      const times = catcher.frames.map(({ atMs }) => atMs);
      let leastMs = 0;
      for (let frame = 1; frame < rounds; frame++) {
        leastMs += announcePauseMs({ initialMs, maxMs, rounds, stepMs }, frame);
        assert.ok(times[frame]! - times[0]! > leastMs - 30, `${times.map((time) => time - times[0]!)}`);
      }
    },
  );
}
