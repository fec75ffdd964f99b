import type { ResolvedMigrateOptions } from '@pageferry/core/control';
import { endWriteTracking, type Guest, RunControl } from '@pageferry/core/guest';
import { releaseThrottle } from '@pageferry/core/outgoing';
import { proxy } from 'comlink';
import type { HandOver } from './hand-over.ts';
import type { SourceCalls, SourceDescription } from './protocol.ts';

/** How long disks that are being given up are waited for before they are taken back all the same, ms. */
const INACTIVATE_LIMIT_MS = 500;

/** A guest that migrates away, on the application's thread: what the coordinator is told of it, and its calls. */
export class SourceGuest {
  readonly description: SourceDescription;
  readonly calls: SourceCalls;
  readonly #guest: Guest;
  readonly #options: ResolvedMigrateOptions;
  /** The disks are given up, or about to be. */
  #inactivating: Promise<void> | undefined;
  /** They are being taken back, or were. */
  #activating: Promise<void> | undefined;
  /** Devices that the guest was asked to let go of. */
  readonly #unplugged = new Set<string>();

  constructor(guest: Guest, options: ResolvedMigrateOptions) {
    this.#guest = guest;
    this.#options = options;
    const { machine, uuid, targetPageBits, ramSectionId, memory, earlySections, primaries } = guest;
    this.description = { machine, uuid, targetPageBits, ramSectionId, memory, earlySections, primaries };
    this.calls = proxy({
      saveDeviceState: () => guest.saveDeviceState(),
      inactivate: () => {
        this.#inactivating = guest.inactivate();
        return this.#inactivating;
      },
      activate: () => {
        this.#activating = guest.activate();
        return this.#activating;
      },
      unplugPrimary: (deviceId: string) => {
        this.#unplugged.add(deviceId);
        return guest.unplugPrimary!(deviceId);
      },
      replugPrimary: (deviceId: string) => {
        this.#unplugged.delete(deviceId);
        return guest.replugPrimary!(deviceId);
      },
    });
  }

  /**
   * Puts the guest right when the coordinator's thread died without having done so.
   * @returns whether it was started
   */
  async rescue(handOver: HandOver): Promise<boolean> {
    const { writeTracking, throttle } = this.#guest.memory;
    if (writeTracking !== undefined) endWriteTracking(writeTracking);
    if (throttle !== undefined) releaseThrottle(this.#options, throttle);
    if (this.#inactivating !== undefined) {
      const settled = this.#inactivating.catch(() => {});
      await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, INACTIVATE_LIMIT_MS))]);
      // What the thread began is waited for, however it died: no vCPU may write to disks that are not here yet.
      await (this.#activating ?? this.#guest.activate());
    }
    const started = this.#start(handOver);
    for (const deviceId of this.#unplugged) await this.#guest.replugPrimary!(deviceId);
    return started;
  }

  #start(handOver: HandOver): boolean {
    const { runControl } = this.#guest.memory;
    if (runControl === undefined || !handOver.stopped) return false;
    new RunControl(runControl).start();
    return true;
  }
}
