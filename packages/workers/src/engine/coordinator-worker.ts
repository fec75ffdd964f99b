import { parentPort } from 'node:worker_threads';
import { MigrationError } from '@pageferry/core';
import type {
  LiveParameters,
  MigrationResult,
  Progress,
  ResolvedMigrateOptions,
} from '@pageferry/core/control';
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
import type { ChannelPool } from '../channels/channel-pool.ts';
import { createThreadedPageReceiver, receivingPool } from '../channels/receiver.ts';
import { createThreadedPageSender, sendingPool } from '../channels/sender.ts';
import { createCompressThreads } from '../compress/compress-threads.ts';
import { createDecompressThreads } from '../compress/decompress-threads.ts';
import type { RamFile } from '../file-channels/ram-file.ts';
import { loadSystemCalls } from '../system/system-calls.ts';
import { collectGarbage } from './collect-garbage.ts';
import { firstMessage, installErrorTransfer } from './comlink.ts';
import { DirectMainPages } from './direct-main-pages.ts';
import { HandOver } from './hand-over.ts';
import type { CoordinatorApi, Events, Preparation } from './protocol.ts';
import { rehearse } from './rehearsal.ts';
import { rehearseReceiving, rehearseSending } from './rehearse-channels.ts';

/**
 * The coordinator thread: the only writer of a migration's state. It lives for one migration.
 */

const stop = new AbortController();
let running: Runnable | undefined;

/** Threads that were started ahead of the migration. */
let prepared: ChannelPool | undefined;

/** The preparation that was asked for; what it failed of, the migration will say. */
let preparing: Promise<void> | undefined;

const coordinator: CoordinatorApi = {
  prepare(preparation) {
    const done = prepare(preparation);
    preparing = done.catch(() => {});
    return done;
  },

  async migrate(guest, calls, uri, options, calledAtMs, progressIntervalMs, handOver, events) {
    await preparing;
    const address = parseUri(uri);
    const { multifdChannels, multifdCompression, multifdBackend, multifdZlibLevel, multifdZstdLevel } =
      options;
    const { connectTimeoutMs } = options;
    const socketAddress = options.multifd && !options.mappedRam ? requireSocket(address, uri) : undefined;
    const file = options.mappedRam ? await openRamFile(address, options) : undefined;
    const system = await loadSystemCalls();
    const migration = new OutgoingMigration({
      // `calls` is a proxy: its members cannot be enumerated.
      guest: {
        ...guest,
        saveDeviceState: () => calls.saveDeviceState(),
        inactivate: () => calls.inactivate(),
        activate: () => calls.activate(),
        unplugPrimary: (deviceId) => calls.unplugPrimary(deviceId),
        replugPrimary: (deviceId) => calls.replugPrimary(deviceId),
      },
      options,
      connect: (signal) =>
        file?.connect(signal) ?? connect(address, { name: 'main', timeoutMs: connectTimeoutMs, signal }),
      createSender: (switches, live) => {
        if (file !== undefined) return file.createSender(switches.zeroPageDetection !== 'none', prepared);
        const sender = createThreadedPageSender({
          address: socketAddress!,
          channels: multifdChannels,
          get maxBandwidthBytesPerSecond() {
            return live.maxBandwidthBytesPerSecond;
          },
          compression: multifdCompression,
          backend: multifdBackend,
          zlibLevel: multifdZlibLevel,
          zstdLevel: multifdZstdLevel,
          uuid: guest.uuid,
          zeroPagesInPackets: switches.zeroPageDetection === 'multifd',
          isStill: guest.memory.dirtyLog.kind === 'none',
          connectTimeoutMs,
          pool: prepared,
        });
        // The threads start while the main channel connects.
        sender.warmUp();
        return sender;
      },
      createCompressThreads: ({ zeroPageDetection }, { compressThreads, compressLevel }) =>
        createCompressThreads({
          threads: compressThreads,
          level: compressLevel,
          detectZero: zeroPageDetection !== 'none',
        }),
      createMainPages: (channel, blocks) =>
        system === undefined || channel.sendDirectly === undefined
          ? undefined
          : new DirectMainPages(system, channel, blocks),
      startMs: calledAtMs - performance.timeOrigin,
      onEvent: (event) => events.event(event),
      onGuestStopped: (stopped) => {
        new HandOver(handOver).stopped = stopped;
      },
      onHandOver: () => new HandOver(handOver).set(),
    });
    return run(migration, events, progressIntervalMs);
  },

  async receive({ uuid, delaysSwitchover }, calls, uri, options, progressIntervalMs, handOver, events) {
    await preparing;
    const address = parseUri(uri);
    if (options.multifd) requireSocket(address, uri);
    const { multifdChannels, multifdCompression, multifdBackend, channelTimeoutMs } = options;
    const channels = {
      channels: multifdChannels,
      compression: multifdCompression,
      backend: multifdBackend,
      pool: prepared,
    };
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
        ...(delaysSwitchover && { readyForSwitchover: () => calls.readyForSwitchover() }),
        load: (state, absent) => calls.load(state, absent),
        announce: (parameters) => calls.announce(parameters),
        start: () => calls.start(),
        discard: () => calls.discard(),
      },
      options,
      listener,
      createReceiver: receiver && (() => receiver),
      createDecompressThreads: () => createDecompressThreads(options.decompressThreads),
      onEvent: (event) => events.event(event),
      onTakeOver: () => new HandOver(handOver).set(),
    });
    return run(migration, events, progressIntervalMs);
  },

  cancel() {
    stop.abort(new MigrationError('cancelled', 'the migration was cancelled'));
    running?.cancel();
  },

  query() {
    return running?.progress();
  },

  setParameters(changes) {
    if (running?.setParameters === undefined) throw notNow('setting parameters');
    running.setParameters(changes);
  },

  continue() {
    if (running?.continue === undefined) throw notNow('migrate-continue');
    running.continue();
  },
};

async function prepare(preparation: Preparation): Promise<void> {
  const { channels } = preparation;
  await firstMessage();
  await rehearse().catch(() => {});
  if (channels > 0) await prepareChannels(preparation);
  collectGarbage();
}

async function prepareChannels(preparation: Preparation): Promise<void> {
  const { direction, channels, mappedRam, compression, level, backend } = preparation;
  if (mappedRam) prepared = (await loadFileChannels()).writingPool(channels);
  else prepared = direction === 'outgoing' ? sendingPool(channels) : receivingPool(channels);
  await prepared.ready({ compression, level, backend });
  if (mappedRam || (await loadSystemCalls()) === undefined) return;
  const rehearsal = direction === 'outgoing' ? rehearseSending : rehearseReceiving;
  // Nothing depends on it: what is wrong, the migration will say.
  await rehearsal(prepared, preparation).catch(() => {});
}

/** A migration; the last two are a source's. */
interface Runnable {
  run(): Promise<MigrationResult>;
  cancel(): void;
  progress(): Progress;
  setParameters?(changes: LiveParameters): void;
  continue?(): void;
}

function notNow(what: string): MigrationError {
  return new MigrationError('bad-state', `${what} is only possible at a source that has begun`);
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
    // The answer to this comes after everything that was said before it: nothing is lost with this thread.
    await events.progress(migration.progress());
  }
}

let fileChannels: Promise<typeof import('../file-channels/ram-file.ts')> | undefined;

/** Only a migration to a mapped-ram file loads what it takes; kept, since even a loaded module takes ms. */
function loadFileChannels() {
  fileChannels ??= import('../file-channels/ram-file.ts');
  return fileChannels;
}

async function openRamFile(address: MigrationAddress, options: ResolvedMigrateOptions): Promise<RamFile> {
  const { RamFile } = await loadFileChannels();
  return new RamFile(address, options);
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
