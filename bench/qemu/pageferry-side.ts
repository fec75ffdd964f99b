/**
 * One pageferry of the benchmark, as a process of its own, running from the packages' `dist`:
 *   node pageferry-side.ts SPEC_JSON
 * Talks to its parent over IPC (`SideMessage` up, `SideCommand` down) and ends when the parent disconnects.
 */
import type { MigrateOptions, MigrationResult, ReceiveOptions } from '@pageferry/core/control';
import { type Engine, migrate, prepareEngine, receive, useHugePages } from '@pageferry/workers';
import type { Beat } from './heartbeat.ts';
import {
  type DestinationGuest,
  destinationGuest,
  type SourceGuest,
  sourceGuest,
} from './pageferry-guests.ts';
import type { HeartbeatGuest } from './sides.ts';

export type GuestSpec =
  | { readonly kind: 'still'; readonly memoryBytes: number; readonly capturePath: string }
  | ({ readonly kind: 'heartbeat' } & HeartbeatGuest);

export type SideSpec =
  | { readonly role: 'source'; readonly guest: GuestSpec; readonly options: MigrateOptions }
  | { readonly role: 'destination'; readonly guest: GuestSpec; readonly options: ReceiveOptions };

export type SideMessage =
  /** RAM is touched; a destination listens at `uri`. */
  | { readonly type: 'ready'; readonly uri?: string }
  /** Of a source. */
  | { readonly type: 'migrated'; readonly wallMs: number; readonly result: MigrationResult }
  /** Of a destination. */
  | { readonly type: 'arrived' }
  | { readonly type: 'compared'; readonly difference: number }
  | { readonly type: 'beats'; readonly beats: Beat[] }
  | { readonly type: 'failed'; readonly message: string; readonly code?: string };

export type SideCommand =
  /** To a source. */
  | { readonly type: 'migrate'; readonly uri: string }
  /** To a destination: compare the RAM with a raw image. */
  | { readonly type: 'compare'; readonly rawPath: string }
  | { readonly type: 'beats' };

const spec = JSON.parse(process.argv[2]!) as SideSpec;

function send(message: SideMessage): void {
  process.send?.(message);
}

function fail(error: unknown): void {
  const { message, code } = error as Error & { code?: string };
  send({ type: 'failed', message, code });
}

/** QEMU's process is up before it is told to migrate; so are the threads here. */
async function warmEngine(): Promise<Engine> {
  const direction = spec.role === 'source' ? 'outgoing' : 'incoming';
  const engine = prepareEngine({ direction, ...spec.options });
  await engine.ready;
  return engine;
}

async function startSource(guest: SourceGuest, options: MigrateOptions): Promise<void> {
  const engine = await warmEngine();
  onCommand(guest, {
    migrate: async ({ uri }) => {
      const start = performance.now();
      const result = await migrate(guest.guest, uri, { ...options, engine }).result;
      return { type: 'migrated', wallMs: performance.now() - start, result };
    },
  });
  send({ type: 'ready' });
}

async function startDestination(guest: DestinationGuest, options: ReceiveOptions): Promise<void> {
  onCommand(guest, {
    compare: async ({ rawPath }) => ({ type: 'compared', difference: guest.difference(rawPath) }),
  });
  const engine = await warmEngine();
  const reception = receive('tcp:127.0.0.1:0', { ...options, guest: guest.guest, engine });
  send({ type: 'ready', uri: await reception.listening });
  await reception.result;
  send({ type: 'arrived' });
}

type Handlers = {
  [T in SideCommand['type']]?: (command: Extract<SideCommand, { type: T }>) => Promise<SideMessage>;
};

function onCommand(guest: { beats(): Promise<Beat[]> }, handlers: Handlers): void {
  const all: Handlers = { ...handlers, beats: async () => ({ type: 'beats', beats: await guest.beats() }) };
  process.on('message', (command: SideCommand) => {
    const handler = all[command.type] as ((command: SideCommand) => Promise<SideMessage>) | undefined;
    handler?.(command).then(send, fail);
  });
}

process.once('disconnect', () => process.exit());
try {
  // As under QEMU's guests.
  await useHugePages();
  if (spec.role === 'source') await startSource(await sourceGuest(spec.guest), spec.options);
  else await startDestination(await destinationGuest(spec.guest), spec.options);
} catch (error) {
  fail(error);
}
