import { whileNotKilled } from './native-load.ts';

/**
 * The Linux calls that Node lacks, through koffi. A thread that does nothing but serve one channel is best
 * blocked in the kernel: one vectored call moves a whole packet between guest RAM and the socket, where the
 * event loop needs a poll, a callback and several reads.
 */
export interface SystemCalls {
  dup(fd: number): number;
  /** sendmsg(2); returns the bytes taken, or -1 with `errno()`. @param message address of a `struct msghdr` */
  sendMessage(fd: number, message: number, flags: number): number;
  /** recvmsg(2); returns the bytes received, 0 at the end, or -1 with `errno()`. */
  receiveMessage(fd: number, message: number, flags: number): number;
  /** Waits until the descriptor takes bytes. Returns false after `timeoutMs`. */
  waitWritable(fd: number, timeoutMs: number): boolean;
  /** shutdown(2) of both directions: the peer hears of the end, whoever else holds the connection. */
  shutdownBoth(fd: number): void;
  /** shutdown(2) of the sending direction. */
  shutdownSend(fd: number): void;
  /** Calls on this descriptor wait, each at most `timeoutMs`. Returns false when that cannot be set. */
  setBlocking(fd: number, timeoutMs: number): boolean;
  /** Keeps the kernel's own buffer for what is sent at that size, or below the system's limit if that is less. */
  limitSendBuffer(fd: number, bytes: number): void;
  /** TCP_INFO of a connection, as much as `into` holds. Returns false where it has none. */
  tcpInfo(fd: number, into: Uint32Array): boolean;
  /** Asks for huge pages under memory that is touched later; only a hint. */
  adviseHugePages(address: number, bytes: number): void;
  /** Of the last call of this thread that failed. */
  errno(): number;
  /** Where a view's first byte is in the process. The memory must outlive whatever is done with the address. */
  addressOf(view: ArrayBufferView | ArrayBufferLike): number;
}

/** Linux's numbers, the same on x86-64 and arm64. */
const F_DUPFD_CLOEXEC = 1030;
/** Behind the standard streams. */
const FIRST_FD = 3;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const SHUT_WR = 1;
const SHUT_RDWR = 2;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const POLLOUT = 4;
const MADV_HUGEPAGE = 14;

export const Errno = { interrupted: 4, again: 11 } as const;

/** Flags of `sendMessage` and `receiveMessage`. */
export const MessageFlag = {
  dontWait: 0x40,
  /** Receive all that was asked for, unless the time limit or the end comes first. */
  waitAll: 0x100,
  /** No signal when the peer is gone. */
  noSignal: 0x4000,
} as const;

let loaded: Promise<SystemCalls | undefined> | undefined;

/** The calls; undefined where they are not to be had (another system, or no build of koffi for it). */
export function loadSystemCalls(): Promise<SystemCalls | undefined> {
  loaded ??=
    process.platform === 'linux' ? whileNotKilled(bind).catch(() => undefined) : Promise.resolve(undefined);
  return loaded;
}

async function bind(): Promise<SystemCalls> {
  const { default: koffi } = await import('koffi');
  const libc = koffi.load(null);
  const fcntl = libc.func('int fcntl(int fd, int command, ...)');
  const setsockopt = libc.func(
    'int setsockopt(int fd, int level, int name, const void *value, uint32_t bytes)',
  );
  const poll = libc.func('int poll(void *descriptors, unsigned long count, int timeout)');
  const getsockopt = libc.func(
    'int getsockopt(int fd, int level, int name, void *value, _Inout_ uint32_t *bytes)',
  );
  const infoBytes = [0];
  const shutdown = libc.func('int shutdown(int fd, int how)');
  const madvise = libc.func('int madvise(uintptr_t address, size_t bytes, int advice)');
  return {
    // Like Node's own descriptors, a duplicate is not for the processes that are started meanwhile.
    dup: (fd) => fcntl(fd, F_DUPFD_CLOEXEC, 'int', FIRST_FD),
    sendMessage: libc.func(
      'int64_t sendmsg(int fd, uintptr_t message, int flags)',
    ) as SystemCalls['sendMessage'],
    receiveMessage: libc.func(
      'int64_t recvmsg(int fd, uintptr_t message, int flags)',
    ) as SystemCalls['receiveMessage'],
    waitWritable(fd, timeoutMs) {
      // struct pollfd: the descriptor, and 16 bits each of what is waited for and what was found.
      const waited = new Int32Array([fd, POLLOUT]);
      return poll(waited, 1, timeoutMs) !== 0;
    },
    shutdownBoth: (fd) => void shutdown(fd, SHUT_RDWR),
    shutdownSend: (fd) => void shutdown(fd, SHUT_WR),
    setBlocking(fd, timeoutMs) {
      const flags: number = fcntl(fd, F_GETFL);
      if (flags < 0 || fcntl(fd, F_SETFL, 'int', flags & ~O_NONBLOCK) < 0) return false;
      // struct timeval: seconds and microseconds.
      const limit = new BigInt64Array([
        BigInt(Math.floor(timeoutMs / 1000)),
        BigInt((timeoutMs % 1000) * 1000),
      ]);
      return [SO_RCVTIMEO, SO_SNDTIMEO].every((name) => setsockopt(fd, SOL_SOCKET, name, limit, 16) === 0);
    },
    limitSendBuffer: (fd, bytes) =>
      void setsockopt(fd, SOL_SOCKET, SO_SNDBUF, new Int32Array([bytes]), Int32Array.BYTES_PER_ELEMENT),
    tcpInfo(fd, into) {
      infoBytes[0] = into.byteLength;
      return getsockopt(fd, IPPROTO_TCP, TCP_INFO, into, infoBytes) === 0 && infoBytes[0] === into.byteLength;
    },
    adviseHugePages: (address, bytes) => void madvise(address, bytes, MADV_HUGEPAGE),
    errno: () => koffi.errno(),
    addressOf: (view) => Number(koffi.address(view)),
  };
}
