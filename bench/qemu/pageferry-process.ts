import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { MigrateOptions, ReceiveOptions } from '@pageferry/core/control';
import type { GuestImage } from './guest-image.ts';
import type { Beat } from './heartbeat.ts';
import type { GuestSpec, SideCommand, SideMessage, SideSpec } from './pageferry-side.ts';
import {
  type ComparableSide,
  DOWNTIME_LIMIT_MS,
  type HeartbeatGuest,
  type Setting,
  type SourceReport,
  type SourceSide,
  type WatchedSide,
} from './sides.ts';

const SIDE = fileURLToPath(new URL('./pageferry-side.ts', import.meta.url));

/** What a side's process reported; `code` is a MigrationError's. */
export class PageferryError extends Error {
  readonly code: string | undefined;

  constructor(message: string, code?: string) {
    super(`pageferry: ${message}`);
    this.code = code;
  }
}

export async function pageferrySource(
  guest: GuestImage | HeartbeatGuest,
  setting: Setting,
): Promise<SourceSide & WatchedSide> {
  const options: MigrateOptions = {
    ...channelOptions(setting),
    multifdZlibLevel: setting.level,
    multifdZstdLevel: setting.level,
    downtimeLimitMs: DOWNTIME_LIMIT_MS,
    ...(setting.mappedRam ? { mappedRam: true } : {}),
    ...(setting.xbzrle ? { xbzrle: true } : {}),
  };
  const side = new PageferrySource({ role: 'source', guest: guestSpec(guest), options });
  return side.started();
}

export async function pageferryDestination(
  guest: GuestImage | HeartbeatGuest,
  setting: Setting,
): Promise<ComparableSide & WatchedSide> {
  const options: ReceiveOptions = channelOptions(setting);
  const side = new PageferryDestination({ role: 'destination', guest: guestSpec(guest), options });
  return side.started();
}

function channelOptions({ multifd, channels, compression }: Setting): ReceiveOptions {
  return { multifd, multifdChannels: channels, multifdCompression: compression };
}

function guestSpec(guest: GuestImage | HeartbeatGuest): GuestSpec {
  if (!('capturePath' in guest)) return { kind: 'heartbeat', ...guest };
  const { memoryBytes, capturePath } = guest;
  return { kind: 'still', memoryBytes, capturePath };
}

/** The child process that runs one side. */
class PageferrySide implements AsyncDisposable {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #messages: SideMessage[] = [];
  #wake = () => {};
  #hasExited = false;
  #uri = '';

  constructor(spec: SideSpec) {
    // Without the condition that this process runs under: from `dist`.
    this.#child = fork(SIDE, [JSON.stringify(spec)], { execArgv: [] });
    this.pid = this.#child.pid!;
    this.#child.on('message', (message: SideMessage) => {
      this.#messages.push(message);
      this.#wake();
    });
    this.#exited = new Promise((resolve) => {
      this.#child.once('exit', () => {
        this.#hasExited = true;
        this.#wake();
        resolve();
      });
    });
  }

  /** Of a destination that has started. */
  get uri(): string {
    return this.#uri;
  }

  /** Waits until its guest is ready. */
  async started(): Promise<this> {
    try {
      this.#uri = (await this.next('ready')).uri ?? '';
      return this;
    } catch (error) {
      await this[Symbol.asyncDispose]();
      throw error;
    }
  }

  async beats(): Promise<Beat[]> {
    this.command({ type: 'beats' });
    return (await this.next('beats')).beats;
  }

  protected command(command: SideCommand): void {
    this.#child.send(command);
  }

  /** The next message, which must be of that type. */
  protected async next<T extends SideMessage['type']>(type: T): Promise<Extract<SideMessage, { type: T }>> {
    for (;;) {
      const message = this.#messages.shift();
      if (message?.type === 'failed') throw new PageferryError(message.message, message.code);
      if (message?.type === type) return message as Extract<SideMessage, { type: T }>;
      if (message !== undefined) throw new PageferryError(`${message.type} came, not ${type}`);
      if (this.#hasExited) throw new PageferryError('the process ended early');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}

class PageferrySource extends PageferrySide implements SourceSide, WatchedSide {
  async migrate(uri: string): Promise<SourceReport> {
    this.command({ type: 'migrate', uri });
    const { wallMs, result } = await this.next('migrated');
    return {
      wallMs,
      totalMs: result.totalTimeMs,
      setupMs: result.setupTimeMs,
      downtimeMs: result.downtimeMs,
      transferredBytes: result.ram.transferred,
    };
  }
}

class PageferryDestination extends PageferrySide implements ComparableSide, WatchedSide {
  async arrived(): Promise<void> {
    await this.next('arrived');
  }

  async difference(rawPath: string): Promise<number> {
    this.command({ type: 'compare', rawPath });
    return (await this.next('compared')).difference;
  }
}
