import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

/** A UDP port where a NIC's frames arrive. */
export class FrameCatcher implements AsyncDisposable {
  readonly frames: { readonly atMs: number; readonly bytes: Buffer }[] = [];
  readonly port: number;
  readonly #socket;

  private constructor(socket: ReturnType<typeof createSocket>) {
    this.#socket = socket;
    this.port = socket.address().port;
    socket.on('message', (bytes) => this.frames.push({ atMs: performance.now(), bytes }));
  }

  static async open(): Promise<FrameCatcher> {
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return new FrameCatcher(socket);
  }

  /** Waits until so many have arrived. */
  async caught(count: number, timeoutMs = 20_000): Promise<void> {
    for (const deadline = performance.now() + timeoutMs; this.frames.length < count; await delay(5)) {
      if (performance.now() > deadline)
        throw new Error(`${this.frames.length} of ${count} frames have arrived`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.close(resolve));
  }
}
