import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'node:test';
import { MigrationError } from '@pageferry/core';
import { CapturedMachine, CaptureTarget } from '@pageferry/core/capture';
import { migrate, receive } from '@pageferry/workers';
import { cuttingProxy } from './lib/cutting-proxy.ts';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { Qemu } from './lib/qemu.ts';
import { captureGuest, configure, type Wiring } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';

/** A connection that is cut anywhere: the right error, in time, on both sides, and the source's guest runs on. */

const WITHIN_MS = 5000;
const inTime = () => AbortSignal.timeout(WITHIN_MS);
const WIRINGS: readonly Pick<Wiring, 'compression' | 'channels'>[] = [
  {},
  { compression: 'zstd', channels: 2 },
];
/** Shares of the whole stream; the first ones cut handshakes, header and block list. */
const SHARES = [0, 0.00001, 0.0001, 0.05, 0.3, 0.6, 0.85];

/** How it ended. Whatever takes too long is cancelled, which no test expects. */
async function codeOf(result: Promise<unknown>): Promise<string> {
  return result.then(
    () => 'completed',
    (error: unknown) => (error instanceof MigrationError ? error.code : String(error)),
  );
}

for (const version of QEMU_VERSIONS) {
  describe(`cut connections, QEMU ${version}`, { concurrency: 2 }, () => {
    for (const wiring of WIRINGS) {
      const kind = wiring.compression === undefined ? 'plain' : `multifd ${wiring.compression}`;
      const options =
        wiring.compression === undefined
          ? {}
          : {
              multifd: true,
              multifdChannels: wiring.channels,
              multifdCompression: wiring.compression,
              channelTimeoutMs: 1000,
            };

      qemuTest(version, `QEMU ${version} to a capture, ${kind}: cut at many points`, async () => {
        const wholeBytes = 1_500_000 / (wiring.compression === undefined ? 1 : 3);
        for (const share of SHARES) {
          // A new one each time: a QEMU whose page channels broke early does not always start another migration.
          await using source = await Qemu.start({ version });
          await source.waitForMoreSerial(1);
          await configure(source, wiring);
          await source.setCapabilities({ 'return-path': true });
          const path = join(source.folder, 'capture');
          const guest = new CaptureTarget({ path, format: 'mapped-ram' });
          const reception = receive('tcp:127.0.0.1:0', { ...options, guest, signal: inTime() });
          const cutAt = 1 + Math.floor(share * wholeBytes);
          await using proxy = await cuttingProxy(await reception.listening, cutAt);
          await source.migrate(proxy.uri);
          const code = await codeOf(reception.result);
          assert.match(code, /^(truncated|connection-lost|channel-timeout)$/, `${code} when cut at ${cutAt}`);
          // A QEMU whose page channels break early can hang itself (seen with 10.0): that is not ours to hold.
          if (wiring.compression === undefined) await source.waitForMoreSerial();
          assert.ok(!existsSync(path), 'there is no capture');
        }
      });

      qemuTest(version, `a capture to QEMU ${version}, ${kind}: cut at many points`, async () => {
        await using source = await Qemu.start({ version });
        await source.waitForMoreSerial(1);
        const capture = await captureGuest(source, { transport: 'tcp', returnPath: true }, 'stream');
        const shares = [...SHARES, 0.97, 0.9999];
        let wholeBytes = 0;
        for (const share of [1, ...shares]) {
          await using destination = await Qemu.start({ version, incoming: 'defer' });
          await configure(destination, wiring);
          const address = await destination.listen('tcp:127.0.0.1:0');
          const cutAt = share === 1 ? undefined : 1 + Math.floor(share * wholeBytes);
          await using proxy = await cuttingProxy(address, cutAt);
          const code = await codeOf(
            migrate(new CapturedMachine(capture), proxy.uri, { ...options, signal: inTime() }).result,
          );
          if (share === 1) {
            assert.equal(code, 'completed');
            // How many short passes precede the stop depends on time: the last bytes may not come again.
            wholeBytes = proxy.bytes() - 32 * 1024;
          } else {
            assert.match(
              code,
              /^(destination-failed|connection-lost|connect-failed)$/,
              `${code} when cut at ${cutAt} of ${wholeBytes}`,
            );
          }
        }
      });
    }
  });
}
