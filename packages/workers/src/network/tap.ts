import * as fs from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { MigrationError } from '@pageferry/core';
import type { NetworkBackend } from '@pageferry/core/guest';
import { whileNotKilled } from '../system/native-load.ts';

/** Linux's numbers, the same on x86-64 and arm64. */
const TUNSETIFF = 0x400454ca;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const IFF_TAP = 0x0002;
/** Nothing stands before a frame. */
const IFF_NO_PI = 0x1000;
const IFF_UP = 1;
const AF_INET = 2;
const SOCK_DGRAM = 2;

/** struct ifreq: 16 bytes of name, then a union that begins with the flags. */
const IFREQ_BYTES = 40;
const NAME_BYTES = 16;

interface Calls {
  ioctl(fd: number, request: number, argument: Uint8Array): number;
  socket(domain: number, type: number, protocol: number): number;
  errno(): number;
}

/**
 * Sends each frame into a tap device of this host, which is made when there is none of that name, and set up. It
 * takes the right to administer the network (CAP_NET_ADMIN).
 * @throws MigrationError `unsupported` on another system than Linux or without its calls, `bad-option` when the
 * kernel refuses
 */
export async function openTapBackend(name: string): Promise<NetworkBackend> {
  if (!/^[^\s/%:]{1,15}$/.test(name)) throw refused(name, 'a name has 1 to 15 characters', 'tap:NAME');
  const calls = await loadCalls(name);
  let fd: number;
  try {
    fd = fs.openSync('/dev/net/tun', fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  } catch (cause) {
    throw refused(name, `/dev/net/tun cannot be opened: ${(cause as NodeJS.ErrnoException).code}`);
  }
  try {
    const request = interfaceRequest(name, IFF_TAP | IFF_NO_PI);
    if (calls.ioctl(fd, TUNSETIFF, request) < 0) throw refused(name, errnoName(calls));
    setUp(calls, name);
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
  let open = true;
  return {
    send(frame) {
      if (!open) return;
      try {
        fs.writeSync(fd, frame);
      } catch {
        // A device that is down or full loses frames.
      }
    },
    async close() {
      if (open) fs.closeSync(fd);
      open = false;
    },
  };
}

/** A device that is down takes no frame. */
function setUp(calls: Calls, name: string): void {
  const socket = calls.socket(AF_INET, SOCK_DGRAM, 0);
  if (socket < 0) throw refused(name, errnoName(calls));
  try {
    const request = interfaceRequest(name, 0);
    if (calls.ioctl(socket, SIOCGIFFLAGS, request) < 0) throw refused(name, errnoName(calls));
    const flags = request.readUInt16LE(NAME_BYTES);
    if ((flags & IFF_UP) !== 0) return;
    request.writeUInt16LE(flags | IFF_UP, NAME_BYTES);
    if (calls.ioctl(socket, SIOCSIFFLAGS, request) < 0)
      throw refused(name, `it cannot be set up: ${errnoName(calls)}`);
  } finally {
    fs.closeSync(socket);
  }
}

function interfaceRequest(name: string, flags: number): Buffer {
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(name);
  request.writeUInt16LE(flags, NAME_BYTES);
  return request;
}

async function loadCalls(name: string): Promise<Calls> {
  try {
    if (process.platform !== 'linux') throw new Error(`there are none on ${process.platform}`);
    return await whileNotKilled(async () => {
      const { default: koffi } = await import('koffi');
      const libc = koffi.load(null);
      return {
        ioctl: libc.func('int ioctl(int fd, unsigned long request, void *argument)') as Calls['ioctl'],
        socket: libc.func('int socket(int domain, int type, int protocol)') as Calls['socket'],
        errno: () => koffi.errno(),
      };
    });
  } catch (cause) {
    throw new MigrationError('unsupported', `tap devices are not to be had: ${(cause as Error).message}`, {
      found: `tap:${name}`,
      cause,
    });
  }
}

function errnoName(calls: Calls): string {
  const errno = calls.errno();
  return getSystemErrorMap().get(-errno)?.[0] ?? `errno ${errno}`;
}

function refused(name: string, why: string, expected?: string): MigrationError {
  return new MigrationError('bad-option', `no tap device: ${why}`, { found: `tap:${name}`, expected });
}
