import assert from 'node:assert/strict';
import type { MigrationEvent } from '../control/events.ts';
import {
  type MigrateOptions,
  type ReceiveOptions,
  resolveMigrateOptions,
  resolveReceiveOptions,
} from '../control/options.ts';
import { MigrationError } from '../error.ts';
import { IncomingMigration } from '../incoming/incoming.ts';
import { OutgoingMigration } from '../outgoing/outgoing.ts';
import type { ProtocolSwitches } from '../outgoing/switches.ts';
import type { AcceptedChannel, Listener } from '../transport/index.ts';
import { InThreadPages } from './in-thread-pages.ts';
import { MemoryChannel } from './memory-channel.ts';
import { TestGuest, TestTarget } from './test-guests.ts';

/** Gives the channels of a test, one after the other. */
class TestListener implements Listener {
  readonly address = 'test:';
  readonly #ready: AcceptedChannel[] = [];
  #wake = Promise.withResolvers<void>();
  #closed = false;

  add(channel: AcceptedChannel): void {
    this.#ready.push(channel);
    this.#wake.resolve();
  }

  async accept(): Promise<AcceptedChannel> {
    for (;;) {
      if (this.#closed) throw new MigrationError('cancelled', 'closed');
      const next = this.#ready.shift();
      if (next !== undefined) return next;
      await this.#wake.promise;
      this.#wake = Promise.withResolvers<void>();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#wake.resolve();
  }
}

export interface Setup {
  options?: MigrateOptions;
  machine?: string;
  duplex?: boolean;
  receive?: ReceiveOptions;
  guest?: TestGuest;
  target?: TestTarget;
}

/** A source and a destination in this thread, connected by channels in memory. */
export function setUp({ options = {}, machine, duplex = true, receive = {}, ...given }: Setup = {}) {
  const resolved = resolveMigrateOptions({ stallTimeoutMs: 2000, ...options });
  const { guest = new TestGuest(machine), target = new TestTarget() } = given;
  const [near, far] = MemoryChannel.pair(duplex);
  const listener = new TestListener();
  const events: MigrationEvent[] = [];
  let pages: InThreadPages | undefined;
  let switches: ProtocolSwitches | undefined;
  const outgoing = new OutgoingMigration({
    guest,
    options: resolved,
    connect: async () => {
      listener.add({ kind: 'main', channel: far });
      for (let channel = 0; resolved.multifd && channel < resolved.multifdChannels; channel++) {
        const connection = { destroy() {} } as never;
        listener.add({ kind: 'multifd', channel, uuid: guest.uuid, connection });
      }
      return near;
    },
    createSender: (decided) => {
      switches = decided;
      pages ??= new InThreadPages(resolved.multifdChannels, decided.zeroPageDetection === 'multifd');
      return pages;
    },
    onEvent: (event) => events.push(event),
  });
  const { multifd, multifdChannels } = resolved;
  const incoming = new IncomingMigration({
    guest: target,
    options: resolveReceiveOptions({ multifd, multifdChannels, stallTimeoutMs: 2000, ...receive }),
    listener,
    createReceiver: () => {
      pages ??= new InThreadPages(multifdChannels, true);
      return pages;
    },
  });
  return {
    guest,
    target,
    near,
    far,
    listener,
    events,
    outgoing,
    incoming,
    switches: () => switches,
    pages: () => pages,
  };
}

export function statusesOf(events: readonly MigrationEvent[]): string[] {
  return events.flatMap((event) => (event.event === 'MIGRATION' ? [event.data.status] : []));
}

export function assertSameRam(guest: TestGuest, target: TestTarget): void {
  for (const [index, block] of guest.blocks.entries()) {
    assert.equal(target.blocks[index]!.idstr, block.idstr);
    assert.ok(
      Buffer.from(block.bytes).equals(Buffer.from(target.blocks[index]!.bytes)),
      `${block.idstr} differs`,
    );
  }
}
