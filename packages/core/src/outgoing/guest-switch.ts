import type { EventSink } from '../control/events.ts';
import { MigrationError } from '../error.ts';
import type { DeviceState, Guest } from '../guest/contract.ts';
import { guestCall } from '../guest/guest-call.ts';
import { RunControl } from '../guest/run-control.ts';

const STOP_LIMIT_MS = 5000;

/**
 * Stops a guest for the switch-over, and puts it back as it was when the migration fails: disks first, then
 * the vCPUs, and neither before the call that takes them away has ended.
 */
export class GuestSwitch {
  readonly #guest: Guest;
  readonly #emit: EventSink;
  readonly #onStopped: (stopped: boolean) => void;
  readonly #control: RunControl | undefined;
  #stopped = false;
  /** Whether it ran when it was stopped: a guest that its owner had stopped stays so after a failure. */
  #ran = false;
  #inactivating: Promise<void> | undefined;
  #restored = false;
  #saidStop = false;

  /** @param onStopped told before a guest that runs is stopped, and after it was started again */
  constructor(guest: Guest, emit: EventSink, onStopped: (stopped: boolean) => void = () => {}) {
    this.#onStopped = onStopped;
    this.#guest = guest;
    this.#emit = emit;
    const { runControl } = guest.memory;
    this.#control = runControl === undefined ? undefined : new RunControl(runControl);
  }

  /** Whether its vCPUs run now. */
  get running(): boolean {
    return this.#control?.running ?? false;
  }

  /** @throws MigrationError `guest-failed` when a vCPU does not stop */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ran = this.running;
    if (this.#ran) this.#onStopped(true);
    if (this.#control !== undefined && !(await this.#control.stop(STOP_LIMIT_MS))) {
      throw new MigrationError('guest-failed', `a vCPU did not stop within ${STOP_LIMIT_MS} ms`);
    }
    // A vCPU that took long may stop only after a cancel has started it again.
    if (!this.#ran || this.#restored) return;
    this.#saidStop = true;
    this.#emit({ event: 'STOP' });
  }

  /** @throws MigrationError `guest-failed` */
  inactivate(): Promise<void> {
    this.#inactivating = guestCall(this.#guest.inactivate(), 'could not give up its disks');
    return this.#inactivating;
  }

  /** @throws MigrationError `guest-failed` */
  saveDeviceState(): Promise<DeviceState> {
    return guestCall(this.#guest.saveDeviceState(), 'could not save its device state');
  }

  /**
   * Lets the guest run on as before the stop, which is then over: what its owner does with it later stays so.
   * @throws MigrationError `guest-failed`
   */
  async resume(): Promise<void> {
    const trouble = await this.restore();
    if (trouble !== undefined) throw new MigrationError('guest-failed', trouble);
    this.#stopped = false;
  }

  /** Undoes `inactivate` and `stop`. Returns what went wrong, if anything did: the guest stays stopped then. */
  async restore(): Promise<string | undefined> {
    if (!this.#stopped) return undefined;
    if (this.#inactivating !== undefined) {
      try {
        await this.#inactivating.catch(() => {});
        await this.#guest.activate();
      } catch (error) {
        return `the guest could not take its disks back and stays stopped: ${error instanceof Error ? error.message : String(error)}`;
      }
    }
    this.#restored = true;
    if (this.#ran) {
      this.#control?.start();
      this.#onStopped(false);
    }
    if (this.#saidStop) this.#emit({ event: 'RESUME' });
    return undefined;
  }
}
