import { isDeepStrictEqual } from 'node:util';
import { MigrationError } from '@pageferry/core';
import type { MigrationEvent, ReceiveOptions } from '@pageferry/core/control';
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
  #closed = false;
  /** How it listens now. */
  #place: { uri: string; exitOnError: boolean; options: ReceiveOptions } | undefined;

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
    const { settings } = this.#parts;
    const address = addressOf(destination);
    checkTransport(address, (capability) => settings.isOn(capability));
    return this.#open(formatUri(address), exitOnError, false);
  }

  /**
   * Settings have changed. They hold for a guest of which nothing has come yet, as in QEMU: the address is listened on
   * anew.
   * @throws MigrationError when that fails; it does not listen then
   */
  async settingsChanged(): Promise<void> {
    const reception = this.#reception;
    const place = this.#place;
    if (reception === undefined || place === undefined || reception.status !== 'setup') return;
    if (this.#listening === undefined || isDeepStrictEqual(place.options, this.#options())) return;
    // From here on nothing that the old one says or does is heard.
    this.#reception = undefined;
    reception.cancel();
    await reception.result.catch(() => {});
    await this.#open(place.uri, place.exitOnError, true);
  }

  #options(): ReceiveOptions {
    // QEMU has no such limit: a source may be paused for hours before its switch-over.
    return { ...this.#parts.settings.toReceiveOptions(), stallTimeoutMs: 0 };
  }

  /** @param again it has been announced before */
  async #open(uri: string, exitOnError: boolean, again: boolean): Promise<string> {
    if (this.#closed) throw new MigrationError('cancelled', 'the machine ends');
    const { machine, target, log, engineFor, failed } = this.#parts;
    const options = this.#options();
    const isCurrent = () => this.#reception === reception;
    const begun = Promise.withResolvers<void>();
    const guest = replaced(target.target, {
      start: () => machine.arrive(target),
      // The one that takes its place needs the target.
      discard: async () => {
        if (isCurrent()) await target.target.discard();
      },
    });
    const reception: Reception = receive(uri, {
      ...options,
      engine: engineFor({ ...options, direction: 'incoming' }),
      guest,
      onEvent: (event) => {
        const setup = event.event === 'MIGRATION' && event.data.status === 'setup';
        if (isCurrent() && !(setup && again)) this.#take(event);
        begun.resolve();
      },
    });
    this.#reception = reception;
    try {
      const bound = await reception.listening;
      // Whoever is told that it listens has been told its state before.
      await Promise.race([begun.promise, reception.result]);
      this.#listening = socketAddressInfo(bound);
      this.#place = { uri: bound, exitOnError, options };
      reception.result.then(
        ({ warnings }) => {
          for (const warning of warnings) log(`incoming migration: ${warning}`);
        },
        (error: MigrationError) => {
          if (!isCurrent()) return;
          if (exitOnError) failed(error);
          else log(`incoming migration: ${error.message}`);
        },
      );
      return bound;
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
    this.#closed = true;
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

/** The same guest with other methods in the place of its own. */
function replaced(guest: IncomingGuest, methods: Partial<IncomingGuest>): IncomingGuest {
  return new Proxy(guest, {
    get(target, name) {
      if (Object.hasOwn(methods, name)) return Reflect.get(methods, name);
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}
