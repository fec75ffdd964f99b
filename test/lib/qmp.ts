import type { Socket } from 'node:net';

/** What the commands used here return; any other command returns `unknown`. */
interface QmpResults {
  'query-status': { status: string; running: boolean };
  'query-migrate': MigrationInfo;
  'human-monitor-command': string;
}

export interface MigrationInfo {
  status?: string;
  'error-desc'?: string;
  'total-time'?: number;
  'setup-time'?: number;
  downtime?: number;
  ram?: {
    transferred: number;
    total: number;
    duplicate: number;
    normal: number;
    'normal-bytes': number;
    'multifd-bytes': number;
    'dirty-sync-count': number;
  };
  'socket-address'?: { type: string; host?: string; port?: string; path?: string }[];
}

export interface QmpEvent {
  event: string;
  data?: Record<string, unknown>;
}

type QmpMessage = Partial<QmpEvent> & {
  QMP?: unknown;
  id?: number;
  return?: unknown;
  error?: { class: string; desc: string };
};

/** An error answer of QMP. */
export class QmpError extends Error {
  readonly class: string;
  readonly desc: string;

  constructor(command: string, answer: { class: string; desc: string }) {
    super(`${command}: ${answer.class}: ${answer.desc}`);
    this.name = 'QmpError';
    this.class = answer.class;
    this.desc = answer.desc;
  }
}

interface Pending {
  command: string;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

interface EventWaiter {
  matches(event: QmpEvent): boolean;
  resolve(event: QmpEvent): void;
  reject(error: Error): void;
}

/** A QMP client on a connected socket. */
export class Qmp {
  /** Every event so far, oldest first. */
  readonly events: QmpEvent[] = [];
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  readonly #waiters = new Set<EventWaiter>();
  readonly #greeting = Promise.withResolvers<void>();
  #lastId = 0;
  #closed: Error | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    let text = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      const lines = (text + chunk).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) if (line.trim() !== '') this.#take(JSON.parse(line) as QmpMessage);
    });
    // A reset is followed by 'close', which is what ends the waiting.
    socket.on('error', () => {});
    socket.on('close', () => this.#end(new Error('QMP: the connection was closed')));
  }

  /** Waits for the greeting and negotiates. */
  static async open(socket: Socket): Promise<Qmp> {
    const qmp = new Qmp(socket);
    await qmp.#greeting.promise;
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  /** @throws QmpError when QEMU answers with an error; Error when it goes away. */
  execute<C extends string>(
    command: C,
    args: Record<string, unknown> = {},
  ): Promise<C extends keyof QmpResults ? QmpResults[C] : unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    if (this.#closed) reject(this.#closed);
    else {
      const id = ++this.#lastId;
      this.#pending.set(id, { command, resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    }
    return promise as Promise<C extends keyof QmpResults ? QmpResults[C] : unknown>;
  }

  /** The first event of that name, past or to come, for which `where` holds. */
  async waitForEvent(
    name: string,
    where: (event: QmpEvent) => boolean = () => true,
    timeoutMs = 10_000,
  ): Promise<QmpEvent> {
    const matches = (event: QmpEvent) => event.event === name && where(event);
    const past = this.events.find(matches);
    if (past) return past;
    if (this.#closed) throw this.#closed;
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>();
    const waiter = { matches, resolve, reject };
    this.#waiters.add(waiter);
    const timer = setTimeout(
      () => reject(new Error(`QMP: no ${name} event within ${timeoutMs} ms`)),
      timeoutMs,
    );
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiters.delete(waiter);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(message: QmpMessage): void {
    if (message.QMP !== undefined) this.#greeting.resolve();
    else if (message.event !== undefined) this.#takeEvent(message as QmpEvent);
    else {
      const pending = this.#pending.get(message.id ?? 0);
      if (!pending) return;
      this.#pending.delete(message.id ?? 0);
      if (message.error) pending.reject(new QmpError(pending.command, message.error));
      else pending.resolve(message.return);
    }
  }

  #takeEvent(event: QmpEvent): void {
    this.events.push(event);
    for (const waiter of this.#waiters) if (waiter.matches(event)) waiter.resolve(event);
  }

  #end(error: Error): void {
    this.#closed = error;
    this.#greeting.reject(error);
    for (const { reject } of this.#pending.values()) reject(error);
    for (const { reject } of this.#waiters) reject(error);
    this.#pending.clear();
  }
}
