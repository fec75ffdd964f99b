import type { GuestSwitch } from './guest-switch.ts';
import type { SourceControl, SourceStream } from './parts.ts';

/**
 * Whether the destination agrees to the switch-over. With switchover-ack it must say so, unless the guest stands still
 * anyway; the passes go on until then.
 */
export class Consent {
  readonly #guest: GuestSwitch;
  readonly #stopped: Promise<never>;
  readonly #acknowledged: Promise<void> | undefined;
  #missing: boolean;

  constructor({ live, guest, stopped }: SourceControl, { returnPath }: SourceStream) {
    this.#guest = guest;
    this.#stopped = stopped;
    this.#missing = live.switchoverAck;
    this.#acknowledged = returnPath?.acknowledged.then(() => {
      this.#missing = false;
    });
  }

  get given(): boolean {
    return !this.#missing || !this.#guest.running;
  }

  /** Waits for the consent, not longer than a moment: the guest writes on. */
  async wait(limitMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, limitMs);
    try {
      await Promise.race([this.#acknowledged, promise, this.#stopped]);
    } finally {
      clearTimeout(timer);
    }
  }
}
