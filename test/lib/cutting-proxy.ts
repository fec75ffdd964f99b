import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface CuttingProxy extends AsyncDisposable {
  readonly uri: string;
  /** Bytes that went from source to destination, over all connections. */
  readonly bytes: () => number;
}

/**
 * Stands between source and destination and breaks every connection, both ways and at once, when `cutAt`
 * bytes have gone towards the destination.
 *
 * @param onBytes sees what goes towards the destination
 */
export async function cuttingProxy(
  target: string,
  cutAt = Number.POSITIVE_INFINITY,
  onBytes: (chunk: Uint8Array) => void = () => {},
): Promise<CuttingProxy> {
  const port = Number(target.split(':').at(-1));
  const sockets = new Set<Socket>();
  let bytes = 0;
  let isCut = false;
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.resetAndDestroy();
  };
  const server = createServer({ allowHalfOpen: true }, (near) => {
    // A line that is cut stays cut.
    if (isCut) {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
    }
    near.on('data', (chunk) => {
      const left = cutAt - bytes;
      bytes += Math.min(chunk.length, left);
      onBytes(chunk);
      if (chunk.length < left) {
        if (!far.write(chunk)) near.pause();
        return;
      }
      far.write(chunk.subarray(0, left), cut);
    });
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
    far.on('drain', () => near.resume());
    far.on('data', (chunk) => near.write(chunk));
    near.on('end', () => far.end());
    far.on('end', () => near.end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address() as { port: number };
  return {
    uri: `tcp:127.0.0.1:${address.port}`,
    bytes: () => bytes,
    async [Symbol.asyncDispose]() {
      cut();
      server.close();
    },
  };
}
