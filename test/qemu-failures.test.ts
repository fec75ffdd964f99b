import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import { type ErrorCode, MigrationError } from '@pageferry/core';
import { CapturedMachine, CaptureTarget } from '@pageferry/core/capture';
import type { MigrateOptions, ReceiveOptions } from '@pageferry/core/control';
import { migrate, receive } from '@pageferry/workers';
import { QEMU_VERSIONS, type QemuVersion } from './lib/find-qemus.ts';
import { Qemu, type QemuOptions } from './lib/qemu.ts';
import { captureGuest, configure, type Wiring } from './lib/qemu-moves.ts';
import { qemuTest } from './lib/qemu-test.ts';

/** However a migration goes wrong, it must be over in this time: it is cancelled then, which no test expects. */
const FAILS_WITHIN_MS = 10_000;
const inTime = () => AbortSignal.timeout(FAILS_WITHIN_MS);

async function expectFailure(result: Promise<unknown>, codes: readonly ErrorCode[]): Promise<void> {
  const error = await result.then(
    () => assert.fail('the migration went well'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof MigrationError, `not a MigrationError: ${error}`);
  assert.ok(codes.includes(error.code), `${error.code}, not one of ${codes}: ${error.message}`);
}

type Multifd = Pick<Wiring, 'compression' | 'channels'>;

interface WrongSource {
  name: string;
  /** What the QEMU at the source does. */
  qemu: Multifd;
  /** What pageferry at the destination was told. */
  receive: ReceiveOptions & { uuid?: Uint8Array };
  codes: readonly ErrorCode[];
}

const TWO = { multifd: true, multifdChannels: 2, channelTimeoutMs: 1000 } as const;
const WRONG_SOURCES: readonly WrongSource[] = [
  {
    name: 'zstd where zlib is expected',
    qemu: { compression: 'zstd', channels: 2 },
    receive: { ...TWO, multifdCompression: 'zlib' },
    codes: ['compression-mismatch'],
  },
  {
    name: 'multifd where none is expected',
    qemu: { compression: 'none', channels: 2 },
    receive: {},
    codes: ['too-many-channels', 'bad-command', 'unknown-flag'],
  },
  {
    name: 'fewer channels than expected',
    qemu: { compression: 'none', channels: 1 },
    receive: TWO,
    codes: ['missing-channel', 'channel-timeout'],
  },
  {
    name: 'more channels than expected',
    qemu: { compression: 'none', channels: 4 },
    receive: TWO,
    codes: ['too-many-channels', 'bad-channel-id'],
  },
  {
    name: 'another UUID than expected',
    qemu: { compression: 'none', channels: 2 },
    receive: { ...TWO, uuid: new Uint8Array(16).fill(0xab) },
    codes: ['uuid-mismatch'],
  },
];

interface WrongDestination {
  name: string;
  qemu: Omit<QemuOptions, 'version'> & Multifd;
  migrate: MigrateOptions;
  /** What QEMU has to say about it; absent: it closes its channels, and may then hang itself. */
  reason?: RegExp;
}

/** A device of the guest that a destination may lack. */
const SECOND_PORT = ['-chardev', 'null,id=second', '-device', 'isa-serial,chardev=second'];

const WRONG_DESTINATIONS: readonly WrongDestination[] = [
  { name: 'another RAM size', qemu: { memoryMib: 32 }, migrate: {}, reason: /Size mismatch: pc.ram/ },
  { name: 'another machine', qemu: { machine: 'pc-q35-7.2' }, migrate: {}, reason: /Machine type received/ },
  {
    name: 'another RAM size, with multifd',
    qemu: { memoryMib: 32, compression: 'zstd', channels: 2 },
    migrate: { multifd: true, multifdCompression: 'zstd' },
    reason: /Size mismatch: pc.ram/,
  },
  {
    name: 'zlib where zstd comes',
    qemu: { compression: 'zlib', channels: 2 },
    migrate: { multifd: true, multifdCompression: 'zstd' },
  },
  {
    name: 'a device less, seen only after all RAM has come',
    qemu: { extraArgs: [] },
    migrate: {},
    reason: /Unknown (savevm )?section or instance 'serial'/,
  },
];

/** Starts a QEMU with the tiny guest, running. */
async function runningGuest(version: QemuVersion): Promise<Qemu> {
  const uuid = '00112233-4455-6677-8899-aabbccddeeff';
  const source = await Qemu.start({ version, extraArgs: ['-uuid', uuid, ...SECOND_PORT] });
  await source.waitForMoreSerial(1);
  return source;
}

for (const version of QEMU_VERSIONS) {
  describe(`QEMU ${version} and pageferry disagree`, { concurrency: 2 }, () => {
    for (const { name, qemu, receive: options, codes } of WRONG_SOURCES) {
      qemuTest(version, `QEMU ${version} sends ${name}: an error, and its guest runs on`, async () => {
        await using source = await runningGuest(version);
        const path = join(source.folder, 'capture');
        const { uuid, ...receiveOptions } = options;
        const guest = new CaptureTarget({ path, format: 'mapped-ram', uuid });
        const reception = receive('tcp:127.0.0.1:0', { ...receiveOptions, guest, signal: inTime() });
        await configure(source, qemu);
        await source.setCapabilities({ 'return-path': true });
        await source.migrate(await reception.listening);
        await expectFailure(reception.result, codes);
        await source.waitMigration('failed', FAILS_WITHIN_MS);
        await source.waitForMoreSerial();
        assert.ok(!existsSync(path), 'a failed migration left a capture');
      });
    }

    qemuTest(version, `QEMU ${version} is killed in the middle: an error, and no capture`, async () => {
      await using source = await runningGuest(version);
      await using folder = await mkdtempDisposable(join(tmpdir(), 'pageferry-'));
      const path = join(folder.path, 'capture');
      const guest = new CaptureTarget({ path, format: 'mapped-ram' });
      const reception = receive('tcp:127.0.0.1:0', { guest, signal: inTime() });
      await source.setParameters({ 'max-bandwidth': 1 << 20, 'downtime-limit': 1 });
      await source.migrate(await reception.listening);
      await source.waitMigration('active');
      process.kill(source.pid, 'SIGKILL');
      await expectFailure(reception.result, ['truncated', 'connection-lost']);
      assert.ok(!existsSync(path), 'a failed migration left a capture');
    });

    qemuTest(
      version,
      `pageferry sends to a QEMU ${version} that cannot take it: an error`,
      async (context) => {
        await using source = await runningGuest(version);
        const capture = await captureGuest(source, { transport: 'tcp', returnPath: true }, 'stream');
        for (const { name, qemu, migrate: options, reason } of WRONG_DESTINATIONS) {
          await context.test(name, async () => {
            const { extraArgs = SECOND_PORT } = qemu;
            await using destination = await Qemu.start({ ...qemu, extraArgs, version, incoming: 'defer' });
            await configure(destination, qemu);
            const uri = await destination.listen('tcp:127.0.0.1:0');
            const { result } = migrate(new CapturedMachine(capture), uri, { ...options, signal: inTime() });
            // A QEMU that gives up resets its connections, before or after it says so on the return path.
            await expectFailure(result, ['destination-failed', 'connection-lost']);
            if (reason === undefined) return;
            await destination.waitExit();
            assert.match(destination.stderr(), reason);
          });
        }
      },
    );
  });
}
