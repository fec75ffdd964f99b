/**
 * One side of the benchmark's migration, as a process of its own:
 *   node pageferry-side.ts source|destination SIZE_BYTES OPTIONS_JSON [CONTENT_PATH]
 * Talks to its parent over IPC: `ready` when its RAM is touched, `go` from the parent (source only, with the
 * URI), `done` with the result. Ends when the parent disconnects.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import type { MigrateOptions, MigrationResult, ReceiveOptions } from '@pageferry/core/control';
import type { Guest, IncomingGuest } from '@pageferry/core/guest';
import { RamBlock } from '@pageferry/core/memory';
import { migrate, receive } from '@pageferry/workers';

export type SideMessage =
  | { type: 'ready'; uri?: string }
  | { type: 'done'; result: MigrationResult }
  | { type: 'failed'; message: string };

export interface GoMessage {
  uri: string;
}

const [role, size, json, contentPath] = process.argv.slice(2);
const block = RamBlock.allocate('pc.ram', Number(size));
const memory = { blocks: [block.toMemory()], dirtyLog: { kind: 'none' } } as const;

const NO_DEVICES = Buffer.from('{"page_size": 4096, "devices": []}');

function send(message: SideMessage): void {
  process.send?.(message);
}

/** Reads the content straight into the guest's RAM, so that no other memory counts for this process. */
function readContent(path: string): void {
  const file = openSync(path, 'r');
  for (let at = 0; at < block.bytes.length; ) {
    const bytes = readSync(file, block.bytes, at, Math.min(1 << 20, block.bytes.length - at), at);
    if (bytes === 0) throw new Error(`${path} is shorter than the guest's RAM`);
    at += bytes;
  }
  closeSync(file);
}

async function runSource(options: MigrateOptions): Promise<MigrationResult> {
  readContent(contentPath!);
  const guest: Guest = {
    machine: 'pc-i440fx-10.0',
    ramSectionId: 2,
    memory,
    // Without a description a destination cannot tell that the stream is over.
    saveDeviceState: async () => ({ early: [], sections: [], vmdesc: NO_DEVICES }),
    inactivate: async () => {},
    activate: async () => {},
  };
  const go = new Promise<GoMessage>((resolve) => process.once('message', resolve));
  send({ type: 'ready' });
  const { uri } = await go;
  return migrate(guest, uri, options).result;
}

async function runDestination(options: ReceiveOptions): Promise<MigrationResult> {
  // Writing touches every page of the guest's RAM before the clock runs.
  block.bytes.fill(1);
  block.bytes.fill(0);
  const guest: IncomingGuest = {
    prepare: async () => memory,
    load: async () => {},
    start: async () => {},
    discard: async () => {},
  };
  const reception = receive('tcp:127.0.0.1:0', { ...options, guest });
  send({ type: 'ready', uri: await reception.listening });
  return reception.result;
}

process.once('disconnect', () => process.exit());
try {
  const options = JSON.parse(json!);
  send({ type: 'done', result: await (role === 'source' ? runSource(options) : runDestination(options)) });
} catch (error) {
  send({ type: 'failed', message: error instanceof Error ? error.message : String(error) });
}
