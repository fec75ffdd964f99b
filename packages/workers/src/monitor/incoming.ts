import { MigrationError } from '@pageferry/core';
import type { MigrationEvent } from '@pageferry/core/control';
import type { MigrationSettings } from '@pageferry/core/control/schema';
import type { IncomingGuest } from '@pageferry/core/guest';
import type { MigrationInfo, QmpEvent, SocketAddressInfo } from '@pageferry/core/qmp';
import { formatUri } from '@pageferry/core/transport';
import type { Engine, EngineOptions } from '../engine/engine.ts';
import { type Reception, receive } from '../receive.ts';
import type { MonitoredTarget } from './guest.ts';
import type { Machine } from './machine.ts';
import { destinationInfo } from './migration-info.ts';
import type { Release } from './release.ts';
import { addressOf, checkTransport, type Destination, socketAddressInfo } from './transport.ts';

interface Parts {
  readonly machine: Machine;
  readonly target: MonitoredTarget;
  readonly settings: MigrationSettings;
  readonly release: Release;
  emit(event: QmpEvent): void;
  /** Also when the capability `events` is off. */
  emitAlways(event: QmpEvent): void;
  log(text: string): void;
  /** Threads that were started before, if there are some. */
  engineFor(options: EngineOptions): Engine | undefined;
  /** The guest did not arrive, and the process is to end because of it. */
  failed(error: MigrationError): void;
}

/** The destination's side of a monitor: it takes one guest in. */
export class Incoming {
  readonly #parts: Parts;
  #reception: Reception | undefined;
  #listening: SocketAddressInfo | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** It listens, or has done so. */
  get started(): boolean {
    return this.#reception !== undefined;
  }

  /** Whether it listens on something that brings several connections. */
  get severalConnections(): boolean {
    return this.#listening !== undefined;
  }

  /**
   * Waits for the guest; resolves when a source can connect.
   * @param exitOnError whether the process ends when the guest does not arrive
   * @returns the address with the real port
   * @throws MigrationError
   */
  async listen(destination: Destination, exitOnError: boolean): Promise<string> {
    if (this.started) {
      throw new MigrationError('bad-state', 'the machine waits for its guest already');
    }
    const { machine, target, settings, log, engineFor } = this.#parts;
    const address = addressOf(destination);
    checkTransport(address, (capability) => settings.isOn(capability));
    const options = settings.toReceiveOptions();
    const reception = receive(formatUri(address), {
      ...options,
      engine: engineFor({ ...options, direction: 'incoming' }),
      // QEMU has no such limit: a source may be paused for hours before its switch-over.
      stallTimeoutMs: 0,
      guest: startedBy(target.target, () => machine.arrive(target)),
      onEvent: (event) => this.#take(event),
    });
    this.#reception = reception;
    try {
      const uri = await reception.listening;
      this.#listening = socketAddressInfo(uri);
      reception.result.then(
        ({ warnings }) => {
          for (const warning of warnings) log(`incoming migration: ${warning}`);
        },
        (error: MigrationError) => {
          log(`incoming migration: ${error.message}`);
          if (exitOnError) this.#parts.failed(error);
        },
      );
      return uri;
    } catch (error) {
      // Another address may do.
      this.#reception = undefined;
      throw error;
    }
  }

  /** The answer of query-migrate. */
  async info(): Promise<MigrationInfo> {
    if (this.#reception === undefined) return {};
    return destinationInfo(await this.#reception.query(), this.#listening, this.#parts.release);
  }

  /** Cancels what is under way and waits for its end. */
  async close(): Promise<void> {
    this.#reception?.cancel();
    await this.#reception?.result.catch(() => {});
  }

  #take(event: MigrationEvent): void {
    const { release, emit, emitAlways } = this.#parts;
    const setup = event.event === 'MIGRATION' && event.data.status === 'setup';
    if (setup && !release.incomingSetup) emitAlways(event);
    else emit(event);
  }
}

/** The same guest, but for who starts it. */
function startedBy(guest: IncomingGuest, start: () => Promise<boolean>): IncomingGuest {
  return new Proxy(guest, {
    get(target, name) {
      if (name === 'start') return start;
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}
