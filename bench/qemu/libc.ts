import koffi from 'koffi';

/** The few blocking calls that show what the kernel can do, without Node's event loop. TCP over 127.0.0.1. */

const AF_INET = 2;
const SOCK_STREAM = 1;
const libc = koffi.load('libc.so.6');
const call = {
  socket: libc.func('int socket(int, int, int)'),
  bind: libc.func('int bind(int, const uint8_t *, int)'),
  listen: libc.func('int listen(int, int)'),
  accept: libc.func('int accept(int, void *, void *)'),
  connect: libc.func('int connect(int, const uint8_t *, int)'),
  getsockname: libc.func('int getsockname(int, _Inout_ uint8_t *, _Inout_ int *)'),
  send: libc.func('int64_t send(int, const uint8_t *, size_t, int)'),
  recv: libc.func('int64_t recv(int, uint8_t *, size_t, int)'),
};
const MSG_WAITALL = 0x100;

/**
 * struct sockaddr_in: u16 family (host order), u16 port and u32 address (network order), 8 bytes of zeros.
 */
function address(port: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.writeUInt32BE(0x7f000001, 4);
  return bytes;
}

/** A socket that listens on a port of the kernel's choice. */
export function listenLocally(backlog: number): { fd: number; port: number } {
  const fd = checked('socket', call.socket(AF_INET, SOCK_STREAM, 0));
  checked('bind', call.bind(fd, address(0), 16));
  checked('listen', call.listen(fd, backlog));
  const bound = Buffer.alloc(16);
  checked('getsockname', call.getsockname(fd, bound, [16]));
  return { fd, port: bound.readUInt16BE(2) };
}

export function acceptOne(fd: number): number {
  return checked('accept', call.accept(fd, null, null));
}

export function connectLocally(port: number): number {
  const fd = checked('socket', call.socket(AF_INET, SOCK_STREAM, 0));
  checked('connect', call.connect(fd, address(port), 16));
  return fd;
}

export function sendAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    at += checked('send', Number(call.send(fd, bytes.subarray(at), bytes.length - at, 0)));
  }
}

/** Fills the memory unless the stream ends first. Returns how many bytes came. */
export function receiveAll(fd: number, bytes: Uint8Array): number {
  return checked('recv', Number(call.recv(fd, bytes, bytes.length, MSG_WAITALL)));
}

function checked(name: string, result: number): number {
  if (result < 0) throw new Error(`${name} failed: errno ${koffi.errno()}`);
  return result;
}
