import { lookup } from 'node:dns/promises';
import { lstat, unlink } from 'node:fs/promises';
import { type AddressInfo, createServer, isIP, type ListenOptions, type Server } from 'node:net';
import { MigrationError } from '../error.ts';
import { errnoOf } from './limits.ts';
import { addressFamily, formatUri, type SocketAddress, type TcpAddress, type UnixAddress } from './uri.ts';

export interface BoundServer {
  readonly server: Server;
  /** The URI with the address and port that were taken. */
  readonly address: string;
}

/**
 * Listens on a TCP or unix address. Connections are accepted paused, half open, with nothing read.
 *
 * @throws MigrationError `listen-failed`, or `unsupported` on Windows, which gives no descriptors of sockets
 */
export async function bind(address: SocketAddress, backlog: number): Promise<BoundServer> {
  if (process.platform === 'win32') {
    throw new MigrationError('unsupported', 'Windows cannot tell main and multifd connections apart', {
      found: formatUri(address),
      phase: 'setup',
    });
  }
  try {
    return await (address.transport === 'unix' ? bindUnix(address, backlog) : bindTcp(address, backlog));
  } catch (cause) {
    if (cause instanceof MigrationError) throw cause;
    throw new MigrationError('listen-failed', `cannot listen on ${formatUri(address)}`, {
      found: errnoOf(cause),
      phase: 'setup',
      cause,
    });
  }
}

/** As QEMU does it, a socket that is there already is replaced; anything else is left alone. */
async function bindUnix(address: UnixAddress, backlog: number): Promise<BoundServer> {
  const { path } = address;
  const stats = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (stats !== undefined && !stats.isSocket()) {
    throw new MigrationError('listen-failed', `cannot listen on ${formatUri(address)}`, {
      found: 'a file that is no socket',
      expected: 'nothing or an old socket there',
      phase: 'setup',
    });
  }
  if (stats !== undefined) await unlink(path);
  return { server: await listenOn({ path, backlog }, false), address: formatUri(address) };
}

async function bindTcp(address: TcpAddress, backlog: number): Promise<BoundServer> {
  const { port, to = port, keepAlive = false } = address;
  let lastError: unknown;
  for (let tried = port; tried <= to; tried++) {
    for (const host of await localHosts(address)) {
      try {
        const options = {
          host,
          port: tried,
          backlog,
          exclusive: true,
          ipv6Only: addressFamily(address) === 6,
        };
        const server = await listenOn(options, keepAlive);
        const bound = server.address() as AddressInfo;
        return { server, address: formatUri({ transport: 'tcp', host: bound.address, port: bound.port }) };
      } catch (error) {
        lastError = error;
        // Another port helps only against this.
        if (errnoOf(error) === 'EADDRINUSE') break;
      }
    }
    if (errnoOf(lastError) !== 'EADDRINUSE') break;
  }
  throw lastError;
}

/** In the order in which they are tried: `::` takes IPv4 too, where there is IPv6. */
async function localHosts(address: TcpAddress): Promise<string[]> {
  const { host } = address;
  const family = addressFamily(address);
  if (isIP(host) !== 0) return [host];
  if (host !== '') return (await lookup(host, { all: true, family })).map((entry) => entry.address);
  if (family === 4) return ['0.0.0.0'];
  return family === 6 ? ['::'] : ['::', '0.0.0.0'];
}

function listenOn(options: ListenOptions, keepAlive: boolean): Promise<Server> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true, keepAlive });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.removeListener('error', reject);
      resolve(server);
    });
  });
}
