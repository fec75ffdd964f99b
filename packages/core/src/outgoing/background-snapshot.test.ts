import assert from 'node:assert/strict';
import test from 'node:test';
import { resolveMigrateOptions, resolveReceiveOptions } from '../control/options.ts';
import type { DeviceState } from '../guest/contract.ts';
import { createWriteTracking, WriteBarrier } from '../guest/write-tracking.ts';
import { IncomingMigration } from '../incoming/incoming.ts';
import { MemoryChannel } from '../testing/memory-channel.ts';
import { TestGuest, TestTarget } from '../testing/test-guests.ts';
import type { AcceptedChannel } from '../transport/index.ts';
import { OutgoingMigration } from './outgoing.ts';

/** A guest that looks before it writes. */
class TrackedGuest extends TestGuest {
  readonly tracking = createWriteTracking(this.blocks);
  /** RAM when the device state was saved. */
  atSave: Buffer[] = [];
  readonly #barrier = new WriteBarrier(
    this.tracking,
    this.tracking.blocks[0]!,
    this.blocks[0]!.toMemory(),
    this.control,
  );

  override get memory() {
    return { ...super.memory, writeTracking: this.tracking };
  }

  override write(page: number, value: number): void {
    if (this.control.running && this.#barrier.beforeWrite(page)) super.write(page, value);
  }

  override async saveDeviceState(): Promise<DeviceState> {
    this.atSave = this.blocks.map(({ bytes }) => Buffer.from(bytes));
    return super.saveDeviceState();
  }
}

function listenerOf(channel: MemoryChannel) {
  const waiting: AcceptedChannel[] = [{ kind: 'main', channel }];
  return {
    address: 'test:',
    accept: () => {
      const next = waiting.shift();
      return next === undefined ? new Promise<never>(() => {}) : Promise.resolve(next);
    },
    close: async () => {},
  };
}

function snapshotOf(guest: TrackedGuest, ignoreShared = false) {
  const target = new TestTarget();
  target.shared = guest.shared;
  const [near, far] = MemoryChannel.pair();
  const options = resolveMigrateOptions({ backgroundSnapshot: true, ignoreShared, stallTimeoutMs: 2000 });
  const handedOver: true[] = [];
  const outgoing = new OutgoingMigration({
    guest,
    options,
    connect: async () => near,
    onHandOver: () => handedOver.push(true),
  });
  const incoming = new IncomingMigration({
    guest: target,
    options: resolveReceiveOptions({ ignoreShared, stallTimeoutMs: 2000 }),
    listener: listenerOf(far),
  });
  return { target, near, outgoing, incoming, handedOver };
}

test('what the guest writes meanwhile is not in it', async () => {
  const guest = new TrackedGuest();
  const { target, outgoing, incoming, handedOver } = snapshotOf(guest);
  let value = 1;
  const writer = setInterval(() => {
    for (let page = 299; page >= 0; page -= 3) guest.write(page, value++ & 0xff);
  }, 0);
  const [sent] = await Promise.all([outgoing.run(), incoming.run()]);
  clearInterval(writer);
  for (const [index, block] of target.blocks.entries()) {
    assert.ok(guest.atSave[index]!.equals(Buffer.from(block.bytes)), block.idstr);
  }
  assert.equal(sent.ram.normal + sent.ram.duplicate, 308);
  assert.ok(guest.control.running);
  // The disks stay here, and so does the guest.
  assert.deepEqual(guest.calls, ['save']);
  assert.deepEqual(handedOver, []);
});

test('with x-ignore-shared a shared block stays where it is, and may be written', async () => {
  const guest = new TrackedGuest();
  guest.shared = ['pc.ram'];
  const { target, outgoing, incoming } = snapshotOf(guest, true);
  const [sent] = await Promise.all([outgoing.run(), incoming.run()]);
  assert.equal(sent.ram.normal + sent.ram.duplicate, 8);
  assert.ok(guest.atSave[1]!.equals(Buffer.from(target.blocks[1]!.bytes)));
  assert.ok(target.blocks[0]!.bytes.every((byte) => byte === 0));
  assert.ok(guest.control.running);
});

test('a guest that its owner stops meanwhile stays stopped, also when the snapshot fails then', async () => {
  const guest = new TrackedGuest();
  const { near, outgoing, incoming } = snapshotOf(guest);
  incoming.run().catch(() => {});
  near.onWrite = (soFar) => {
    if (soFar < 200_000) return;
    void guest.control.stop();
    near.destroy(new Error('cut'));
  };
  await assert.rejects(outgoing.run());
  assert.ok(!guest.control.running);
  incoming.cancel();
});
