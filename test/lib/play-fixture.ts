import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { MultifdCompression, ReceiveOptions } from '@pageferry/core/control';
import type { DeviceState, IncomingDescription, IncomingGuest } from '@pageferry/core/guest';
import { RamBlock } from '@pageferry/core/memory';
import { receive } from '@pageferry/workers';
import { type Fixture, readConnection } from './fixtures.ts';

/** A destination that keeps what arrives, to be compared. */
export class RecordingTarget implements IncomingGuest {
  readonly #partial: boolean;
  readonly #shared: Readonly<Record<string, bigint>>;
  blocks: RamBlock[] = [];
  description: IncomingDescription | undefined;
  state: DeviceState | undefined;
  started = false;
  discarded = false;
  /** The blocks that stayed at the source. */
  absent: readonly string[] | undefined;

  /** @param options `partial`: does without blocks that stay at the source; `shared`: blocks by guest address */
  constructor({ partial = true, shared = {} }: { partial?: boolean; shared?: Record<string, bigint> } = {}) {
    this.#partial = partial;
    this.#shared = shared;
  }

  async prepare(description: IncomingDescription) {
    this.description = description;
    this.blocks = description.blocks.map((block) => RamBlock.allocate(block.idstr, block.usedLengthBytes));
    const blocks = this.blocks.map((block) => {
      const guestPhysicalAddress = this.#shared[block.idstr];
      const shared = guestPhysicalAddress !== undefined;
      return { ...block.toMemory(), ...(shared && { shared, guestPhysicalAddress }) };
    });
    return { blocks, dirtyLog: { kind: 'none' as const }, partial: this.#partial };
  }

  async load(state: DeviceState, absent: readonly string[]): Promise<void> {
    this.state = state;
    this.absent = absent;
  }

  async start(): Promise<boolean> {
    this.started = true;
    return false;
  }

  async discard(): Promise<void> {
    this.discarded = true;
    this.blocks = [];
  }
}

/** The options that the fixture's destination had. */
export function receiveOptionsOf(fixture: Fixture): ReceiveOptions {
  const has = (capability: string) => fixture.capabilities.includes(capability);
  const stream = {
    ...(has('x-ignore-shared') && { ignoreShared: true }),
    ...(has('switchover-ack') && { switchoverAck: true }),
    ...(has('compress') && { compress: true }),
  };
  if (!has('multifd')) return stream;
  return {
    ...stream,
    multifd: true,
    multifdChannels: Number(fixture.parameters['multifd-channels'] ?? 2),
    multifdCompression: (fixture.parameters['multifd-compression'] ?? 'none') as MultifdCompression,
  };
}

interface Played {
  /** What the destination said on the return path. */
  readonly answers: Buffer;
  readonly target: RecordingTarget;
  /** The error of a migration that failed. */
  readonly error: unknown;
}

/**
 * Plays every connection of a fixture into `receive` over real sockets, in the recorded order of
 * acceptance, or with the page channels before the main channel.
 */
export async function playFixture(
  fixture: Fixture,
  options: ReceiveOptions = receiveOptionsOf(fixture),
  order: 'recorded' | 'main-last' = 'recorded',
  target = new RecordingTarget(),
): Promise<Played> {
  const reception = receive('tcp:127.0.0.1:0', { guest: target, ...options });
  const port = Number((await reception.listening).split(':').at(-1));
  const answers: Buffer[] = [];
  const sockets: { socket: Socket; answered: boolean }[] = [];
  const connections = order === 'recorded' ? [...fixture.connections] : [...fixture.connections].reverse();
  for (const { conn, d2s_bytes } of connections) {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    socket.on('error', () => {});
    socket.on('data', (chunk) => answers.push(chunk));
    // A destination that has refused already listens no more.
    const connected = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    if (!connected) continue;
    // A source that was cancelled waits for nothing.
    const answered = d2s_bytes > 0 && fixture.status_source === 'completed';
    sockets.push({ socket, answered });
    socket.write(readConnection(fixture, conn));
  }
  // A source closes when it has the verdict, or, without a return path, when everything is written.
  const error = await Promise.race([
    reception.result.then(
      () => undefined,
      (failure: unknown) => failure,
    ),
    endWhenIdle(sockets),
  ]).then(
    async (first) =>
      first ??
      (await reception.result.then(
        () => undefined,
        (failure: unknown) => failure,
      )),
  );
  for (const { socket } of sockets) socket.destroy();
  return { answers: Buffer.concat(answers), target, error };
}

/** Ends the connections once written: at once without a return path, else when the destination has. */
async function endWhenIdle(sockets: readonly { socket: Socket; answered: boolean }[]): Promise<undefined> {
  const ended = sockets.map(async ({ socket, answered }) => {
    if (answered) {
      await new Promise<void>((resolve) => {
        socket.once('end', () => resolve()).once('close', () => resolve());
      });
    }
    socket.end();
  });
  await Promise.all(ended);
  return undefined;
}
