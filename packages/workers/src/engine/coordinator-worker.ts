import { parentPort } from 'node:worker_threads';
import { MigrationError } from '@pageferry/core';
import type { MigrationResult, Progress } from '@pageferry/core/control';
import { IncomingMigration } from '@pageferry/core/incoming';
import { OutgoingMigration } from '@pageferry/core/outgoing';
import {
  connect,
  listen,
  type MigrationAddress,
  parseUri,
  type SocketAddress,
} from '@pageferry/core/transport';
import { expose } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { createThreadedPageReceiver } from '../channels/receiver.ts';
import { createThreadedPageSender } from '../channels/sender.ts';
import { installErrorTransfer } from './comlink.ts';
import { HandOver } from './hand-over.ts';
import type { CoordinatorApi, Events } from './protocol.ts';

/**
 * The coordinator thread: the only writer of a migration's state. It lives for one migration.
 */

const stop = new AbortController();
let running: { cancel(): void } | undefined;

const coordinator: CoordinatorApi = {
  async migrate(guest, calls, uri, options, progressIntervalMs, handOver, events) {
    const address = parseUri(uri);
    const { multifdChannels, multifdCompression, multifdBackend, multifdZlibLevel, multifdZstdLevel } =
      options;
    const { connectTimeoutMs } = options;
    const socketAddress = options.multifd ? requireSocket(address, uri) : undefined;
    const migration = new OutgoingMigration({
      // `calls` is a proxy: its members cannot be enumerated.
      guest: {
        ...guest,
        saveDeviceState: () => calls.saveDeviceState(),
        inactivate: () => calls.inactivate(),
        activate: () => calls.activate(),
      },
      options,
      connect: (signal) => connect(address, { name: 'main', timeoutMs: connectTimeoutMs, signal }),
      createSender: (switches) => {
        const sender = createThreadedPageSender({
          address: socketAddress!,
          channels: multifdChannels,
          compression: multifdCompression,
          backend: multifdBackend,
          zlibLevel: multifdZlibLevel,
          zstdLevel: multifdZstdLevel,
          uuid: guest.uuid,
          zeroPagesInPackets: switches.zeroPageDetection === 'multifd',
          connectTimeoutMs,
        });
        // The threads start while the main channel connects.
        sender.warmUp();
        return sender;
      },
      onStatus: (status) => events.status(status),
      onHandOver: () => new HandOver(handOver).set(),
    });
    return run(migration, events, progressIntervalMs);
  },

  async receive(uuid, calls, uri, options, progressIntervalMs, handOver, events) {
    const address = parseUri(uri);
    if (options.multifd) requireSocket(address, uri);
    const { multifdChannels, multifdCompression, multifdBackend, channelTimeoutMs } = options;
    const channels = { channels: multifdChannels, compression: multifdCompression, backend: multifdBackend };
    // Before anybody can connect: options that cannot be are told at once.
    const receiver = options.multifd ? createThreadedPageReceiver(channels) : undefined;
    // The threads start while nobody is there yet.
    receiver?.warmUp();
    const listener = await listen(address, {
      backlog: 1 + (options.multifd ? multifdChannels : 0),
      firstBytesTimeoutMs: channelTimeoutMs,
      signal: stop.signal,
    });
    events.listening(listener.address);
    const migration = new IncomingMigration({
      guest: {
        uuid,
        prepare: (description) => calls.prepare(description),
        load: (state) => calls.load(state),
        start: () => calls.start(),
        discard: () => calls.discard(),
      },
      options,
      listener,
      createReceiver: receiver && (() => receiver),
      onStatus: (status) => events.status(status),
      onTakeOver: () => new HandOver(handOver).set(),
    });
    return run(migration, events, progressIntervalMs);
  },

  cancel() {
    stop.abort(new MigrationError('cancelled', 'the migration was cancelled'));
    running?.cancel();
  },
};

interface Runnable {
  run(): Promise<MigrationResult>;
  cancel(): void;
  progress(): Progress;
}

async function run(
  migration: Runnable,
  events: Events,
  progressIntervalMs: number,
): Promise<MigrationResult> {
  running = migration;
  if (stop.signal.aborted) migration.cancel();
  const timer = setInterval(() => events.progress(migration.progress()), progressIntervalMs);
  try {
    return await migration.run();
  } finally {
    clearInterval(timer);
  }
}

/** Page channels are further connections to the same address, so it must be one that takes several. */
function requireSocket(address: MigrationAddress, uri: string): SocketAddress {
  if (address.transport === 'tcp' || address.transport === 'unix') return address;
  throw new MigrationError('bad-option', 'multifd needs a transport with several connections', {
    found: uri,
    expected: 'tcp: or unix:',
  });
}

installErrorTransfer();
expose(coordinator, nodeEndpoint(parentPort!));
