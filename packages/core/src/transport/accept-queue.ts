import { MigrationError } from '../error.ts';
import type { AcceptedChannel } from './listener.ts';

/** Something that `accept` can give: made only when it is asked for. */
export interface Arrival {
  give(): AcceptedChannel;
  /** Closes it, since nobody asked. */
  drop(): void;
}

interface Waiter {
  readonly resolve: (channel: AcceptedChannel) => void;
  readonly reject: (error: Error) => void;
}

/** Arrived and not asked for, or asked for and not arrived. */
export class AcceptQueue {
  readonly #arrivals: Arrival[] = [];
  #waiters: Waiter[] = [];
  #end: Error | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: () => void;

  /** @param onAbort called when `signal` aborts before the queue is closed */
  constructor(signal: AbortSignal | undefined, onAbort: () => void) {
    this.#signal = signal;
    this.#onAbort = onAbort;
    signal?.addEventListener('abort', onAbort, { once: true });
  }

  get length(): number {
    return this.#arrivals.length;
  }

  offer(arrival: Arrival): void {
    if (this.#end !== undefined) {
      arrival.drop();
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter === undefined) this.#arrivals.push(arrival);
    else settle(waiter, arrival);
  }

  accept(): Promise<AcceptedChannel> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    return new Promise((resolve, reject) => {
      const arrival = this.#arrivals.shift();
      if (arrival === undefined) this.#waiters.push({ resolve, reject });
      else settle({ resolve, reject }, arrival);
    });
  }

  /** Drops what was not asked for; whoever waits or comes later gets `error`. */
  close(error: Error = new MigrationError('cancelled', 'the listener was closed')): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    for (const arrival of this.#arrivals.splice(0)) arrival.drop();
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }
}

function settle(waiter: Waiter, arrival: Arrival): void {
  try {
    waiter.resolve(arrival.give());
  } catch (error) {
    // The connection went away between its first bytes and now.
    arrival.drop();
    waiter.resolve({ kind: 'rejected', error: MigrationError.from(error, 'connection-lost') });
  }
}
