import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Capture,
  CapturedMachine,
  type CaptureFormat,
  CaptureTarget,
  loadCapture,
} from '@pageferry/core/capture';
import type { CodecBackend, MigrateOptions, MigrationResult, ReceiveOptions } from '@pageferry/core/control';
import { migrate, receive } from '@pageferry/workers';
import { expectConsistentGuest, expectLiveGuest } from './guest-alive.ts';
import type { Qemu } from './qemu.ts';
import { checkTinyGuest } from './tiny-guest.ts';

/** How a QEMU and a pageferry are connected for one migration. */
export interface Wiring {
  transport: 'tcp' | 'unix' | 'exec';
  /** Absent: no multifd. */
  compression?: 'none' | 'zlib' | 'zstd';
  channels?: 1 | 2 | 4;
  /** Which implementation pageferry takes; absent: its default. */
  backend?: CodecBackend;
  /** The source's capability. */
  returnPath: boolean;
}

export function describeWiring({ transport, compression, channels, backend, returnPath }: Wiring): string {
  const multifd = compression === undefined ? 'plain' : `multifd ${compression} x${channels}`;
  return [multifd, backend, transport, returnPath ? 'return path' : undefined].filter(Boolean).join(', ');
}

/**
 * Captures the running tiny guest of `source` through pageferry while it iterates. The captured RAM must be
 * the stopped source's, byte for byte.
 */
export async function captureGuest(source: Qemu, wiring: Wiring, format: CaptureFormat): Promise<Capture> {
  const path = join(source.folder, 'capture');
  const fifo = join(source.folder, 'fifo');
  if (wiring.transport === 'exec') execFileSync('mkfifo', [fifo]);
  const uris = {
    tcp: 'tcp:127.0.0.1:0',
    unix: `unix:${join(source.folder, 'migration')}`,
    exec: `exec:cat ${fifo}`,
  };
  // Should either side fail, the other one is not left waiting.
  using abort = abortAtEnd();
  const reception = receive(uris[wiring.transport], {
    ...multifdOptions(wiring),
    guest: new CaptureTarget({ path, format }),
    signal: abort.signal,
  });
  const address = await reception.listening;
  await configure(source, wiring);
  await source.setCapabilities({ 'return-path': wiring.returnPath });
  const sending = source.migrateIterating(wiring.transport === 'exec' ? `exec:cat > ${fifo}` : address);
  const [info, result] = await bothEnds(sending, reception.result);
  assert.ok(info.ram!['dirty-sync-count'] >= 3, 'the guest moved without iterating');
  assert.equal(result.returnPath, wiring.returnPath);
  const capture = await loadCapture(path);
  await expectSameMemory(capture, source);
  return capture;
}

/** Plays a captured guest into `destination` (started with `incoming: 'defer'`), where it must live on. */
export async function playGuest(
  capture: Capture,
  destination: Qemu,
  wiring: Wiring,
): Promise<MigrationResult> {
  const fifo = join(destination.folder, 'fifo');
  if (wiring.transport === 'exec') execFileSync('mkfifo', [fifo]);
  await configure(destination, wiring);
  const address = await destination.listen(
    {
      tcp: 'tcp:127.0.0.1:0',
      unix: `unix:${join(destination.folder, 'migration')}`,
      exec: `exec:cat ${fifo}`,
    }[wiring.transport],
  );
  using abort = abortAtEnd();
  const options = { ...multifdOptions(wiring), returnPath: wiring.returnPath, signal: abort.signal };
  const uri = wiring.transport === 'exec' ? `exec:cat > ${fifo}` : address;
  const result = await migrate(new CapturedMachine(capture), uri, options).result;
  assert.equal(result.returnPath, wiring.returnPath);
  assert.equal(result.channels.length, wiring.compression === undefined ? 0 : wiring.channels);
  await expectLiveGuest(destination);
  return result;
}

/** Sets QEMU's side of the wiring, whichever side it is. */
export async function configure(
  qemu: Qemu,
  { compression, channels }: Pick<Wiring, 'compression' | 'channels'>,
): Promise<void> {
  if (compression === undefined) return;
  await qemu.setCapabilities({ multifd: true });
  await qemu.setParameters({ 'multifd-channels': channels ?? 2, 'multifd-compression': compression });
}

function multifdOptions({ compression, channels, backend }: Wiring): MigrateOptions & ReceiveOptions {
  if (compression === undefined) return {};
  return {
    multifd: true,
    multifdChannels: channels,
    multifdCompression: compression,
    multifdBackend: backend,
  };
}

/** Both ends' outcomes; when either fails, an error that tells of both. */
async function bothEnds<A, B>(sending: Promise<A>, receiving: Promise<B>): Promise<[A, B]> {
  try {
    return await Promise.all([sending, receiving]);
  } catch {
    const ends = [sending, receiving].map((end) => Promise.race([end, sleep(2000, 'still at work')]));
    const outcomes = await Promise.allSettled(ends);
    const [sender, receiver] = outcomes.map((outcome) =>
      outcome.status === 'rejected' ? String(outcome.reason) : JSON.stringify(outcome.value),
    );
    throw new Error(`source: ${sender}\ndestination: ${receiver}`);
  }
}

function abortAtEnd(): Disposable & { signal: AbortSignal } {
  const controller = new AbortController();
  return { signal: controller.signal, [Symbol.dispose]: () => controller.abort() };
}

/** The part of the guest's physical address space that is not its RAM: VGA memory and ROMs. */
const HOLE = { start: 0xa0000, end: 0x100000 };

/** Captured RAM and the stopped QEMU's are the same, and the tiny guest in it is consistent. */
export async function expectSameMemory(capture: Capture, stopped: Qemu): Promise<void> {
  await expectConsistentGuest(stopped);
  const ram = capture.memory.find(({ idstr }) => idstr === 'pc.ram');
  assert.ok(ram, 'the capture has no block pc.ram');
  const theirs = await stopped.readMemory(0, ram.usedLengthBytes);
  assert.ok(
    theirs.subarray(0, HOLE.start).equals(ram.bytes.subarray(0, HOLE.start)),
    'conventional memory differs',
  );
  assert.ok(theirs.subarray(HOLE.end).equals(ram.bytes.subarray(HOLE.end)), 'memory above 1 MiB differs');
  assert.deepEqual(checkTinyGuest(ram.bytes).problems, []);
}
