import { resolveMigrateOptions, resolveReceiveOptions } from '@pageferry/core/control';
import type { Guest, IncomingGuest } from '@pageferry/core/guest';
import { IncomingMigration } from '@pageferry/core/incoming';
import { RamBlock, type RamBlockMemory, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { OutgoingMigration } from '@pageferry/core/outgoing';
import { connect, listen, parseUri } from '@pageferry/core/transport';
import { loadSystemCalls } from '../system/system-calls.ts';
import { DirectMainPages } from './direct-main-pages.ts';

const PAGES = 256;
const DEVICE = { sectionId: 3, idstr: 'rehearsal', instanceId: 0, versionId: 1, data: Buffer.alloc(64) };
/** Of each wait in a rehearsal. */
export const LIMIT_MS = 2000;

/**
 * Migrates a guest of 1 MiB within this thread, over loopback: code that has run once starts in a tenth of the
 * time, and a prepared engine has that time.
 *
 * @throws MigrationError where it cannot be, which is no error of the migration that follows
 */
export async function rehearse(): Promise<void> {
  const listener = await listen(parseUri('tcp:127.0.0.1:0'), { backlog: 1, firstBytesTimeoutMs: LIMIT_MS });
  const options = { connectTimeoutMs: LIMIT_MS, channelTimeoutMs: LIMIT_MS, stallTimeoutMs: LIMIT_MS };
  const incoming = new IncomingMigration({
    guest: takingGuest(() => [room()]),
    options: resolveReceiveOptions(options),
    listener,
  });
  const address = parseUri(listener.address);
  const system = await loadSystemCalls();
  const outgoing = new OutgoingMigration({
    guest: stillGuest([content()]),
    options: resolveMigrateOptions(options),
    createMainPages: (channel, blocks) => system && new DirectMainPages(system, channel, blocks),
    connect: (signal) => connect(address, { name: 'main', timeoutMs: LIMIT_MS, signal }),
  });
  await bothHalves(incoming, outgoing);
}

/** Runs both halves of a rehearsal. When one fails the other has nobody to wait for. */
export async function bothHalves(incoming: IncomingMigration, outgoing: OutgoingMigration): Promise<void> {
  const runs = [incoming.run(), outgoing.run()];
  for (const run of runs) {
    run.catch(() => {
      incoming.cancel();
      outgoing.cancel();
    });
  }
  const failed = (await Promise.allSettled(runs)).find(({ status }) => status === 'rejected');
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
}

/** A guest without vCPUs. */
export function stillGuest(blocks: readonly RamBlockMemory[]): Guest {
  return {
    machine: 'pc-i440fx-10.0',
    ramSectionId: 2,
    memory: { blocks, dirtyLog: { kind: 'none' } },
    saveDeviceState: async () => ({ early: [], sections: [DEVICE] }),
    inactivate: async () => {},
    activate: async () => {},
  };
}

/** A destination for one. @param room its memory, zeroed */
export function takingGuest(room: () => readonly RamBlockMemory[]): IncomingGuest {
  return {
    prepare: async () => ({ blocks: room(), dirtyLog: { kind: 'none' }, zeroed: true }),
    load: async () => {},
    start: async () => false,
    discard: async () => {},
  };
}

function room(): RamBlock {
  return RamBlock.allocate('rehearsal', PAGES * TARGET_PAGE_BYTES);
}

/** Every third page is zero. */
function content(): RamBlock {
  const block = room();
  for (let page = 0; page < PAGES; page++) {
    if (page % 3 !== 0) block.bytes[page * TARGET_PAGE_BYTES] = 1;
  }
  return block;
}
