import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { MigrationError } from '../../error.ts';
import type { NetworkBackend } from './backend.ts';

/**
 * Sends each frame as one datagram, as QEMU's `-netdev socket,udp=` and `-netdev dgram` do.
 * @throws MigrationError `bad-option` when the host cannot be found or no socket be had
 */
export async function openUdpBackend(host: string, port: number): Promise<NetworkBackend> {
  try {
    const { address, family } = await lookup(host);
    // Not connected: a peer that is not there yet would cost the frame after the one that it refused.
    const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
    socket.bind();
    await once(socket, 'listening');
    socket.on('error', () => {});
    socket.unref();
    let open = true;
    return {
      send: (frame) => open && socket.send(frame, port, address, () => {}),
      close: async () => {
        if (!open) return;
        open = false;
        await new Promise<void>((resolve) => socket.close(resolve));
      },
    };
  } catch (cause) {
    throw new MigrationError('bad-option', `no network back end: ${(cause as Error).message}`, {
      found: `udp:${host}:${port}`,
      cause,
    });
  }
}
