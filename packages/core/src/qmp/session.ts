import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { QmpError } from './error.ts';
import { type JsonPiece, JsonSplitter } from './json-splitter.ts';
import { formatJson, parseJson } from './json-text.ts';
import { idOf, parseRequest, type QmpRequest } from './request.ts';
import type { QmpVersion } from './types.ts';

/** What a session asks of its server. */
export interface SessionHost {
  readonly version: QmpVersion;
  /** Runs a command of any session; in-band ones one after another. @throws QmpError */
  execute(request: QmpRequest): Promise<unknown>;
  /** Whether the command exists and may run out of band; undefined: there is none of that name. */
  allowsOutOfBand(command: string): boolean | undefined;
  log(text: string): void;
}

/** Limit of one request. */
const MAX_REQUEST_BYTES = 1 << 20;
/** Requests that are read ahead of the one that runs (QEMU's queue). */
const MAX_WAITING = 8;
/** Answers and events that a client has not taken; one that lets more pile up is dropped. */
const MAX_UNREAD_BYTES = 4 << 20;
/** How long a client may take to read the last words, ms. */
const CLOSE_LIMIT_MS = 500;

type Waiting = QmpRequest | { readonly error: QmpError; readonly id?: unknown };

/**
 * One client of a QMP server. It sees its own mistakes as errors; going away, or not reading, ends its session and
 * nothing else.
 */
export class QmpSession {
  readonly closed: Promise<void>;
  readonly #stream: Duplex;
  readonly #host: SessionHost;
  readonly #name: string;
  readonly #splitter = new JsonSplitter(MAX_REQUEST_BYTES);
  #negotiated = false;
  #outOfBand = false;
  #waiting: Waiting[] = [];
  /** The loop that answers what waits, while there is something. */
  #answering: Promise<void> | undefined;
  #ending = false;
  #gone = false;

  /** @param name what the client is called in the log */
  constructor(stream: Duplex, host: SessionHost, name: string) {
    this.#stream = stream;
    this.#host = host;
    this.#name = name;
    this.closed = new Promise((resolve) => {
      stream.once('close', () => {
        this.#gone = true;
        this.#waiting = [];
        resolve();
      });
    });
    // A reset is followed by 'close'.
    stream.on('error', () => {});
    stream.on('end', () => void this.end());
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    // Accepted sockets are paused.
    stream.resume();
    this.#send({ QMP: { version: host.version, capabilities: ['oob'] } });
  }

  /** Tells the client of an event, once it has negotiated. */
  event(message: object): void {
    if (this.#negotiated) this.#send(message);
  }

  /** Answers what has been asked, and closes. */
  async end(): Promise<void> {
    if (this.#ending) return this.closed;
    this.#ending = true;
    this.#stream.pause();
    await this.#answering;
    const timer = setTimeout(() => this.#stream.destroy(), CLOSE_LIMIT_MS);
    await new Promise((resolve) => this.#stream.end(resolve));
    this.#stream.destroy();
    await this.closed;
    clearTimeout(timer);
  }

  #take(chunk: Uint8Array): void {
    if (this.#ending) return;
    for (const piece of this.#splitter.push(chunk)) this.#arrange(piece);
    if (this.#splitter.overflowed) {
      this.#host.log(`${this.#name}: dropped, a request of more than ${MAX_REQUEST_BYTES} bytes`);
      void this.end();
    } else if (this.#waiting.length >= MAX_WAITING) this.#stream.pause();
  }

  /** Puts a request into the queue, or runs it at once when it is out of band. */
  #arrange(piece: JsonPiece): void {
    const waiting = this.#read(piece);
    if ('error' in waiting || !waiting.outOfBand) {
      this.#waiting.push(waiting);
      this.#answering ??= this.#answer().finally(() => {
        this.#answering = undefined;
      });
    } else void this.#run(waiting);
  }

  #read(piece: JsonPiece): Waiting {
    if ('problem' in piece) return { error: new QmpError(`this is no JSON: ${piece.problem}`) };
    let value: unknown;
    try {
      value = parseJson(piece.text);
    } catch (error) {
      return { error: new QmpError(`this is no JSON: ${(error as Error).message}`) };
    }
    try {
      return parseRequest(value, this.#outOfBand);
    } catch (error) {
      return { error: error as QmpError, ...idOf(value) };
    }
  }

  async #answer(): Promise<void> {
    // All of what came together is arranged first: some of it may be answered without any wait.
    await undefined;
    for (;;) {
      const next = this.#waiting.shift();
      if (next === undefined || this.#gone) return;
      if ('error' in next) this.#sendError(next.error, next);
      else await this.#run(next);
      // A client that asks faster than it reads waits.
      if (this.#stream.writableNeedDrain)
        await Promise.race([once(this.#stream, 'drain'), this.closed]).catch(() => {});
      if (this.#waiting.length < MAX_WAITING && !this.#ending) this.#stream.resume();
    }
  }

  async #run(request: QmpRequest): Promise<void> {
    try {
      const value = this.#negotiated ? await this.#dispatch(request) : this.#negotiate(request);
      this.#send({ return: value, ...idOf(request) });
    } catch (error) {
      if (!(error instanceof QmpError))
        this.#host.log(`${request.command}: ${(error as Error).stack ?? error}`);
      this.#sendError(error instanceof QmpError ? error : new QmpError(String(error)), request);
    }
  }

  #negotiate({ command, arguments: given }: QmpRequest): object {
    if (command !== 'qmp_capabilities') {
      throw new QmpError(
        'capabilities are not negotiated yet: qmp_capabilities comes first',
        'CommandNotFound',
      );
    }
    const { enable = [], ...rest } = given;
    const [unknown] = Object.keys(rest);
    if (unknown !== undefined) throw new QmpError(`qmp_capabilities takes no argument ${unknown}`);
    if (!Array.isArray(enable)) throw new QmpError('enable is no array');
    const wrong = enable.find((capability) => capability !== 'oob');
    if (wrong !== undefined) throw new QmpError(`enable: there is no capability ${String(wrong)} here`);
    this.#negotiated = true;
    this.#outOfBand = enable.length > 0;
    return {};
  }

  #dispatch(request: QmpRequest): Promise<unknown> {
    const { command, outOfBand } = request;
    if (command === 'qmp_capabilities') {
      throw new QmpError('capabilities are negotiated already', 'CommandNotFound');
    }
    const allowed = this.#host.allowsOutOfBand(command);
    if (allowed === undefined) throw new QmpError(`there is no command ${command}`, 'CommandNotFound');
    if (outOfBand && !allowed) throw new QmpError(`${command} cannot run out of band`);
    return this.#host.execute(request);
  }

  #sendError({ class: errorClass, desc }: QmpError, about: object): void {
    this.#send({ ...idOf(about), error: { class: errorClass, desc } });
  }

  #send(message: object): void {
    if (this.#gone || !this.#stream.writable) return;
    this.#stream.write(`${formatJson(message)}\r\n`);
    if (this.#stream.writableLength <= MAX_UNREAD_BYTES) return;
    this.#host.log(`${this.#name}: dropped, it does not read (${this.#stream.writableLength} bytes wait)`);
    this.#stream.destroy();
  }
}
