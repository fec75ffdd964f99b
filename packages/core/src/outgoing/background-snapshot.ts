import { type ErrorPhase, MigrationError } from '../error.ts';
import type { Guest } from '../guest/contract.ts';
import { WriteTracker } from '../guest/write-tracking.ts';
import { RamBlock } from '../memory/ram-block.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type { MainStreamWriter } from './main-stream.ts';
import { Pacer } from './pacer.ts';
import type { SourceControl } from './parts.ts';
import { SnapshotPages } from './snapshot-pages.ts';
import type { ProtocolSwitches } from './switches.ts';

/** A PART section ends after this long, as in precopy. */
const PART_LIMIT_MS = 50;

/**
 * Capability background-snapshot: the guest stands still only while its device state is saved into memory and its
 * RAM is protected. It runs on while every page is sent once, as it was then; a vCPU that wants to write a page that
 * is not sent yet copies it first. The device state follows the last page. The stream has no END section.
 */
export class BackgroundSnapshot {
  readonly #control: SourceControl;
  readonly #guest: Guest;
  readonly #blocks: readonly RamBlock[];
  readonly #tracker: WriteTracker;
  #channel: ByteChannel | undefined;
  #stream: MainStreamWriter | undefined;
  #pages: SnapshotPages | undefined;

  /** @throws MigrationError `unsupported` for a guest whose writes nobody can hold back */
  constructor(guest: Guest, control: SourceControl) {
    const { writeTracking, blocks } = guest.memory;
    if (writeTracking === undefined) {
      throw new MigrationError(
        'unsupported',
        'capability background-snapshot needs a guest whose writes can be tracked, and this one has no such hook',
      );
    }
    this.#guest = guest;
    this.#control = control;
    this.#blocks = blocks.map((block) => new RamBlock(block));
    this.#tracker = new WriteTracker(writeTracking, blocks);
  }

  #isSent = (blockIndex: number): boolean => {
    return !(this.#control.live.ignoreShared && this.#blocks[blockIndex]!.shared);
  };

  /** Writes the setup sections behind the stream's header. */
  async begin(channel: ByteChannel, stream: MainStreamWriter, switches: ProtocolSwitches): Promise<void> {
    const { signal, stats, live } = this.#control;
    this.#channel = channel;
    this.#stream = stream;
    const pages = new SnapshotPages({
      blocks: this.#blocks,
      isSent: this.#isSent,
      channel,
      stream,
      tracker: this.#tracker,
      detectZero: switches.zeroPageDetection !== 'none',
      signal,
    });
    this.#pages = pages;
    const ram = { totalBytes: pages.totalBytes, dirtySyncCount: 0, dirtiedPages: 0 };
    stats.follow({ ram, flow: pages, pacer: new Pacer(live) }, this.#control.guest.running);
    await pages.writeStart(this.#guest.earlySections ?? []);
  }

  /**
   * Stops the guest for a moment, and writes it as it was then. Returns when everything is handed to the kernel; the
   * guest runs as before, also when this fails.
   *
   * @param enterPhase told the part in which an error would be
   */
  async take(enterPhase: (phase: ErrorPhase) => void): Promise<void> {
    const { signal, stats, guest, watch } = this.#control;
    const pages = this.#pages!;
    // Whoever ends the migration lets the vCPUs go at once.
    const endTracking = () => this.#tracker.end();
    signal.addEventListener('abort', endTracking, { once: true });
    try {
      stats.guestStops();
      await guest.stop();
      signal.throwIfAborted();
      const saved = await watch.pausedDuring(guest.saveDeviceState());
      signal.throwIfAborted();
      this.#tracker.begin(this.#isSent);
      await guest.resume();
      stats.guestResumed(guest.running);
      while (!pages.done) {
        await pages.writePart(PART_LIMIT_MS);
        stats.measure();
      }
      enterPhase('device');
      this.#stream!.devices(saved);
      await this.#channel!.flushed();
      signal.throwIfAborted();
    } finally {
      signal.removeEventListener('abort', endTracking);
      endTracking();
    }
  }
}
