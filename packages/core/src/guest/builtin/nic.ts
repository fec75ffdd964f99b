import {
  type AnnounceOptions,
  type AnnounceParameters,
  Announcer,
  announceFrame,
} from '../network/announce.ts';
import type { NetworkBackend } from '../network/backend.ts';
import { DEFAULT_MAC, parseMac } from '../network/mac.ts';

/** The name by which an announcement can choose the NIC. */
export const NIC_NAME = 'net0';

export interface NicOptions {
  /** `52:54:00:12:34:56` by default. It moves with the machine. */
  readonly mac?: string;
  /** Where its frames go on this host; nowhere by default. Closed with the machine. */
  readonly backend?: NetworkBackend;
}

/**
 * The built-in machine's network card. The machine runs no network protocol: what the card sends is the
 * announcement of its address after a move.
 */
export class Nic {
  readonly mac: Uint8Array;
  readonly #backend: NetworkBackend | undefined;
  readonly #announcer: Announcer;

  constructor(mac: Uint8Array, backend?: NetworkBackend) {
    this.mac = mac;
    this.#backend = backend;
    const frame = announceFrame(mac);
    this.#announcer = new Announcer((interfaces) => {
      if (interfaces === undefined || interfaces.includes(NIC_NAME)) backend?.send(frame);
    });
  }

  /** @throws MigrationError `bad-option` for a malformed address */
  static create({ mac = DEFAULT_MAC, backend }: NicOptions): Nic {
    return new Nic(parseMac(mac), backend);
  }

  /** @throws MigrationError `bad-option` */
  announce(parameters: AnnounceParameters, options?: AnnounceOptions): void {
    this.#announcer.announce(parameters, options);
  }

  async close(): Promise<void> {
    this.#announcer.close();
    await this.#backend?.close();
  }
}
