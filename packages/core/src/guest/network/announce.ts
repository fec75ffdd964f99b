import { MigrationError } from '../../error.ts';

/**
 * Self-announce: after a guest has moved, switches learn from a few broadcasts by its own address that it is now
 * behind another port. One frame, as QEMU sends it, 60 bytes:
 *
 *   0   6  ff ff ff ff ff ff    to everybody
 *   6   6  MAC                  from the guest
 *   12  2  80 35                RARP
 *   14  2  00 01                hardware: Ethernet
 *   16  2  08 00                protocol: IPv4
 *   18  1  06                   hardware address length
 *   19  1  04                   protocol address length
 *   20  2  00 03                request reverse
 *   22  6  MAC, 28 4 zero       sender
 *   32  6  MAC, 38 4 zero       target
 *   42  18 zero                 up to Ethernet's least length
 */
const FRAME_BYTES = 60;
const RARP_HEAD = [0x80, 0x35, 0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x03];

/** The frame by which a NIC announces itself. @param mac 6 bytes */
export function announceFrame(mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_BYTES);
  frame.fill(0xff, 0, 6);
  frame.set(mac, 6);
  frame.set(RARP_HEAD, 12);
  frame.set(mac, 22);
  frame.set(mac, 32);
  return frame;
}

/** How often and when frames are sent; QEMU's announce-initial, -max, -rounds and -step. */
export interface AnnounceParameters {
  /** Between the first and the second frame, ms. */
  readonly initialMs: number;
  /** No pause is longer than this, ms. */
  readonly maxMs: number;
  /** Number of frames; 0: none. */
  readonly rounds: number;
  /** By this much each pause is longer than the one before, ms. */
  readonly stepMs: number;
}

/** What QMP's announce-self may say besides. */
export interface AnnounceOptions {
  /** Only NICs of these names; all by default. */
  readonly interfaces?: readonly string[] | undefined;
  /** Announcements of different ids run beside each other; another one of the same id (or of none) replaces it. */
  readonly id?: string | undefined;
}

/** The pause before frame `frame` (1 is the second one), ms. A sum below zero counts as beyond the maximum. */
export function announcePauseMs({ initialMs, maxMs, stepMs }: AnnounceParameters, frame: number): number {
  const pauseMs = initialMs + (frame - 1) * stepMs;
  return pauseMs < 0 || pauseMs > maxMs ? maxMs : pauseMs;
}

/** Longest time that a timer of Node's can wait, ms. */
const TIMER_LIMIT_MS = 2 ** 31 - 1;

/** Runs announcements, each with a timer of its own. */
export class Announcer {
  readonly #send: (interfaces: readonly string[] | undefined) => void;
  readonly #timers = new Map<string | undefined, NodeJS.Timeout>();

  /** @param send sends one frame on each of these NICs, on all for undefined */
  constructor(send: (interfaces: readonly string[] | undefined) => void) {
    this.#send = send;
  }

  /**
   * Sends the first frame and arranges for the others. With 0 rounds it only ends an announcement of that id.
   * @throws MigrationError `bad-option` for numbers that are no integers, or negative rounds
   */
  announce(parameters: AnnounceParameters, options: AnnounceOptions = {}): void {
    for (const [name, value] of Object.entries(parameters)) {
      if (Number.isInteger(value) && (name !== 'rounds' || value >= 0)) continue;
      throw new MigrationError('bad-option', `${name} of an announcement is out of range`, {
        found: String(value),
        expected: name === 'rounds' ? 'an integer, 0 or more' : 'an integer',
      });
    }
    clearTimeout(this.#timers.get(options.id));
    this.#timers.delete(options.id);
    if (parameters.rounds > 0) this.#frame(parameters, options, 0);
  }

  #frame(parameters: AnnounceParameters, options: AnnounceOptions, frame: number): void {
    this.#send(options.interfaces);
    const next = frame + 1;
    if (next >= parameters.rounds) {
      this.#timers.delete(options.id);
      return;
    }
    const pauseMs = Math.min(TIMER_LIMIT_MS, announcePauseMs(parameters, next));
    const timer = setTimeout(() => this.#frame(parameters, options, next), pauseMs);
    this.#timers.set(options.id, timer);
  }

  /** Ends all announcements. */
  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }
}
