import type { Server, Socket } from 'node:net';
import { bind } from '../transport/bind.ts';
import type { SocketAddress } from '../transport/uri.ts';
import type { QmpRequest } from './request.ts';
import { QmpSession, type SessionHost } from './session.ts';
import type { QmpEvent, QmpVersion } from './types.ts';

/** A command of a server. */
export interface QmpCommand {
  /** May run at once, beside an in-band command of any client. */
  readonly allowOutOfBand?: boolean;
  /** @throws QmpError the answer for the client; any other error is logged and becomes a GenericError */
  run(args: Readonly<Record<string, unknown>>): unknown;
}

export interface QmpServerOptions {
  /** For the greeting. */
  readonly version: QmpVersion;
  readonly commands: ReadonlyMap<string, QmpCommand>;
  /** Further clients are turned away; 16 if absent. */
  readonly maxClients?: number;
  readonly log?: (text: string) => void;
}

const MAX_CLIENTS = 16;

/**
 * A QMP server: any number of clients on any number of addresses, all of one machine. Commands of all clients run
 * one after another, as QEMU's do, except out-of-band ones.
 */
export class QmpServer {
  readonly #options: QmpServerOptions;
  readonly #listeners: Server[] = [];
  readonly #sessions = new Set<QmpSession>();
  readonly #host: SessionHost;
  #lastInBand: Promise<unknown> = Promise.resolve();
  #clients = 0;
  #closed = false;

  constructor(options: QmpServerOptions) {
    this.#options = options;
    const { version, commands } = options;
    this.#host = {
      version,
      allowsOutOfBand: (name) => {
        const command = commands.get(name);
        return command && command.allowOutOfBand === true;
      },
      execute: (request) => this.#execute(request),
      log: (text) => this.#log(text),
    };
  }

  /**
   * Waits for clients on one more address.
   * @returns the address with the real port
   * @throws MigrationError `listen-failed`
   */
  async listen(address: SocketAddress): Promise<string> {
    const { server, address: bound } = await bind(address, MAX_CLIENTS);
    this.#listeners.push(server);
    server.on('connection', (socket) => this.#adopt(socket));
    server.on('error', (error) => this.#log(`${bound}: ${error.message}`));
    return bound;
  }

  /** Tells every client of an event, with the time of now. */
  emit({ event, data }: QmpEvent): void {
    const nowMs = performance.timeOrigin + performance.now();
    const seconds = Math.floor(nowMs / 1000);
    const microseconds = Math.floor((nowMs - seconds * 1000) * 1000);
    const message = { timestamp: { seconds, microseconds }, event, ...(data === undefined ? {} : { data }) };
    for (const session of this.#sessions) session.event(message);
  }

  /** Stops listening, answers what was asked, and closes every session. Never rejects. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const server of this.#listeners) server.close();
    await Promise.all(Array.from(this.#sessions, (session) => session.end()));
  }

  #adopt(socket: Socket): void {
    const { maxClients = MAX_CLIENTS } = this.#options;
    const name = `QMP client ${++this.#clients}`;
    if (this.#closed || this.#sessions.size >= maxClients) {
      if (!this.#closed) this.#log(`${name}: turned away, there are ${maxClients} already`);
      socket.on('error', () => {});
      socket.destroy();
      return;
    }
    const session = new QmpSession(socket, this.#host, name);
    this.#sessions.add(session);
    void session.closed.then(() => this.#sessions.delete(session));
  }

  #execute({ command, arguments: given, outOfBand }: QmpRequest): Promise<unknown> {
    const run = async () => this.#options.commands.get(command)!.run(given);
    if (outOfBand) return run();
    const result = this.#lastInBand.then(run);
    this.#lastInBand = result.catch(() => {});
    return result;
  }

  #log(text: string): void {
    this.#options.log?.(text);
  }
}
