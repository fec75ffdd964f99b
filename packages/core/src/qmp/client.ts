import type { Duplex } from 'node:stream';
import { MigrationError } from '../error.ts';
import { connectSocket } from '../transport/connect.ts';
import { formatUri, type SocketAddress } from '../transport/uri.ts';
import { QmpError } from './error.ts';
import { JsonSplitter } from './json-splitter.ts';
import { formatJson, parseJson } from './json-text.ts';
import type { QmpCommands, QmpTimedEvent, QmpVersion } from './types.ts';

type Arguments<C extends string> = C extends keyof QmpCommands
  ? QmpCommands[C]['arguments']
  : Record<string, unknown>;
type Result<C extends string> = C extends keyof QmpCommands ? QmpCommands[C]['return'] : unknown;

export interface QmpClientOptions {
  /** Negotiates out-of-band execution, where the server offers it. */
  readonly oob?: boolean;
  /** How long connection, greeting and negotiation may take together, ms; 10 s if absent. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

interface Pending {
  readonly command: string;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

interface Waiter {
  take(event: QmpTimedEvent): void;
  reject(error: Error): void;
}

const OPEN_TIMEOUT_MS = 10_000;
const EVENT_TIMEOUT_MS = 10_000;
/** Limit of one message of the server; QEMU's longest answers (schemas) have a few hundred KiB. */
const MAX_MESSAGE_BYTES = 64 << 20;
/** How many events are kept. */
const MAX_EVENTS = 10_000;

/** A client of any QMP server: a QEMU's or pageferry's own. */
export class QmpClient {
  /** The newest events (10000 at most), oldest first. */
  readonly events: QmpTimedEvent[] = [];
  /** Resolves when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>;
  readonly #stream: Duplex;
  readonly #splitter = new JsonSplitter(MAX_MESSAGE_BYTES);
  readonly #greeting = Promise.withResolvers<{ version: QmpVersion; capabilities: readonly string[] }>();
  readonly #pending = new Map<number, Pending>();
  readonly #waiters = new Set<Waiter>();
  readonly #close = Promise.withResolvers<void>();
  #version: QmpVersion | undefined;
  #lastId = 0;
  #ended: MigrationError | undefined;

  private constructor(stream: Duplex) {
    this.#stream = stream;
    this.closed = this.#close.promise;
    this.#greeting.promise.catch(() => {});
    stream.on('data', (chunk: Buffer) => this.#read(chunk));
    stream.on('error', (error) => this.#end(connectionLost(error)));
    stream.on('end', () => this.#end(connectionLost()));
    stream.on('close', () => this.#end(connectionLost()));
  }

  /**
   * Connects to a server and negotiates.
   * @throws MigrationError `connect-failed`, `connect-timeout`, `cancelled`, `connection-lost`, `bad-qmp`
   */
  static async connect(address: SocketAddress, options: QmpClientOptions = {}): Promise<QmpClient> {
    const { timeoutMs = OPEN_TIMEOUT_MS, signal } = options;
    const startMs = performance.now();
    const socket = await connectSocket(address, { timeoutMs, signal });
    const leftMs = Math.max(1, timeoutMs - (performance.now() - startMs));
    return QmpClient.open(socket, { ...options, timeoutMs: leftMs }, formatUri(address));
  }

  /**
   * Waits for the greeting on a stream that is connected to a server, and negotiates.
   * @param name the server, for errors
   * @throws MigrationError `connect-timeout`, `cancelled`, `connection-lost`, `bad-qmp`
   */
  static async open(stream: Duplex, options: QmpClientOptions = {}, name = 'the server'): Promise<QmpClient> {
    const { oob = false, timeoutMs = OPEN_TIMEOUT_MS, signal } = options;
    const client = new QmpClient(stream);
    const tooLate = () =>
      client.#end(
        new MigrationError(
          'connect-timeout',
          `no QMP greeting of ${name} within ${Math.round(timeoutMs)} ms`,
        ),
      );
    const timer = setTimeout(tooLate, timeoutMs);
    const abort = () => client.#end(new MigrationError('cancelled', `QMP to ${name} was cancelled`));
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    try {
      const { version, capabilities } = await client.#greeting.promise;
      client.#version = version;
      await client.execute(
        'qmp_capabilities',
        oob && capabilities.includes('oob') ? { enable: ['oob'] } : {},
      );
      return client;
    } catch (error) {
      client.close();
      throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    }
  }

  /** The server's, from its greeting. */
  get version(): QmpVersion {
    return this.#version!;
  }

  /**
   * Runs a command.
   * @param options `oob`: out of band, which takes that it was negotiated and that the command allows it
   * @throws QmpError the server's error; MigrationError `connection-lost` or `bad-qmp` when it goes away
   */
  execute<C extends keyof QmpCommands | (string & {})>(
    command: C,
    args: Arguments<C> = {} as Arguments<C>,
    options: { readonly oob?: boolean } = {},
  ): Promise<Result<C>> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    if (this.#ended !== undefined) reject(this.#ended);
    else {
      const id = ++this.#lastId;
      this.#pending.set(id, { command, resolve, reject });
      const verb = options.oob ? 'exec-oob' : 'execute';
      this.#stream.write(`${formatJson({ [verb]: command, arguments: args, id })}\n`);
    }
    return promise as Promise<Result<C>>;
  }

  /**
   * The first event of that name, past or to come, for which `where` holds.
   * @throws MigrationError `stall-timeout` when none comes in time; as `execute` when the server goes away
   */
  waitForEvent(
    name: string,
    where: (event: QmpTimedEvent) => boolean = () => true,
    timeoutMs = EVENT_TIMEOUT_MS,
  ): Promise<QmpTimedEvent> {
    const matches = (event: QmpTimedEvent) => event.event === name && where(event);
    const past = this.events.find(matches);
    if (past !== undefined) return Promise.resolve(past);
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const { promise, resolve, reject } = Promise.withResolvers<QmpTimedEvent>();
    const waiter: Waiter = { take: (event) => matches(event) && resolve(event), reject };
    this.#waiters.add(waiter);
    const tooLate = () =>
      reject(new MigrationError('stall-timeout', `no QMP event ${name} within ${timeoutMs} ms`));
    const timer = setTimeout(tooLate, timeoutMs);
    return promise.finally(() => {
      clearTimeout(timer);
      this.#waiters.delete(waiter);
    });
  }

  /** Ends the connection; what is still waited for rejects with `connection-lost`. */
  close(): void {
    this.#end(new MigrationError('connection-lost', 'the QMP connection was closed here'));
  }

  #read(chunk: Uint8Array): void {
    for (const piece of this.#splitter.push(chunk)) {
      if (this.#ended !== undefined) return;
      try {
        if ('problem' in piece) throw new SyntaxError(piece.problem);
        this.#take(parseJson(piece.text) as Message);
      } catch (error) {
        this.#end(
          new MigrationError('bad-qmp', `the server sent what is no QMP: ${(error as Error).message}`, {
            found: 'text' in piece ? piece.text.slice(0, 200) : undefined,
          }),
        );
      }
    }
  }

  #take(message: Message): void {
    if (typeof message !== 'object' || message === null) throw new SyntaxError('no object');
    if (message.QMP !== undefined) this.#greeting.resolve(message.QMP);
    else if (message.event !== undefined) this.#takeEvent(message as QmpTimedEvent);
    else if ('error' in message || 'return' in message) this.#takeAnswer(message);
    else throw new SyntaxError('neither greeting nor event nor answer');
  }

  #takeAnswer({ id, error, return: value }: Message): void {
    const pending = typeof id === 'number' ? this.#pending.get(id) : undefined;
    // An error without an id answers something that the server could not read.
    if (pending === undefined) throw new SyntaxError(error?.desc ?? 'an answer to nothing');
    this.#pending.delete(id as number);
    if (error === undefined) pending.resolve(value);
    else pending.reject(new QmpError(error.desc, error.class, pending.command));
  }

  #takeEvent(event: QmpTimedEvent): void {
    this.events.push(event);
    if (this.events.length > MAX_EVENTS) this.events.shift();
    for (const waiter of this.#waiters) waiter.take(event);
  }

  #end(error: MigrationError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#stream.destroy();
    this.#greeting.reject(error);
    for (const { reject } of this.#pending.values()) reject(error);
    for (const { reject } of this.#waiters) reject(error);
    this.#pending.clear();
    this.#close.resolve();
  }
}

interface Message {
  QMP?: { version: QmpVersion; capabilities: string[] };
  event?: string;
  id?: unknown;
  return?: unknown;
  error?: { class: string; desc: string };
}

function connectionLost(cause?: Error): MigrationError {
  return new MigrationError('connection-lost', 'the QMP connection broke', { found: cause?.message, cause });
}
