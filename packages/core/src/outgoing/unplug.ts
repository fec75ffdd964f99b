import type { EventSink } from '../control/events.ts';
import type { Guest } from '../guest/contract.ts';
import { guestCall } from '../guest/guest-call.ts';

/**
 * The primaries of virtio-net failover pairs: passed-through devices, which cannot move. The guest is asked to let
 * go of them when the migration begins, and has them again when it stays.
 */
export class PrimaryUnplug {
  readonly #guest: Guest;
  readonly #emit: EventSink;
  #asked: readonly string[] = [];
  #left = 0;
  #done: Promise<unknown> = Promise.resolve();

  constructor(guest: Guest, emit: EventSink) {
    this.#guest = guest;
    this.#emit = emit;
  }

  /** Asks the guest for each of them. */
  ask(): void {
    this.#asked = this.#guest.primaries ?? [];
    this.#left = this.#asked.length;
    const unplugged = this.#asked.map(async (deviceId) => {
      this.#emit({ event: 'UNPLUG_PRIMARY', data: { 'device-id': deviceId } });
      await guestCall(this.#guest.unplugPrimary!(deviceId), `could not let go of ${deviceId}`);
      this.#left--;
    });
    this.#done = Promise.all(unplugged);
    this.#done.catch(() => {});
  }

  /** Whether the guest still has one. */
  get pending(): boolean {
    return this.#left > 0;
  }

  /** Resolves when the guest has none any more. @throws MigrationError `guest-failed` */
  async finished(): Promise<void> {
    await this.#done;
  }

  /** Gives them back. Returns what went wrong, if anything did: the guest runs all the same. */
  async restore(): Promise<string | undefined> {
    const asked = this.#asked;
    this.#asked = [];
    for (const deviceId of asked) {
      try {
        await this.#guest.replugPrimary!(deviceId);
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        return `the guest could not take ${deviceId} back: ${text}`;
      }
    }
    return undefined;
  }
}
