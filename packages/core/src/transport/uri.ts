import { isIP, isIPv6 } from 'node:net';
import { MigrationError } from '../error.ts';

/** Where a migration goes to or comes from: a parsed migration URI. */
export type MigrationAddress = TcpAddress | UnixAddress | FileAddress | ExecAddress | FdAddress;

/** What several channels can be connected to: the only addresses that multifd works over. */
export type SocketAddress = TcpAddress | UnixAddress;

export interface TcpAddress {
  readonly transport: 'tcp';
  /** Name or literal address without brackets. Empty: all addresses when listening, localhost when connecting. */
  readonly host: string;
  /** 0..65535; 0 picks a free one when listening and is refused when connecting. */
  readonly port: number;
  /** The last port to try when listening. Refused when connecting. */
  readonly to?: number;
  /** Whether IPv4 (IPv6) may be used. With one of them true and the other absent, only that one is. */
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  /** Whether the kernel probes idle connections. */
  readonly keepAlive?: boolean;
}

export interface UnixAddress {
  readonly transport: 'unix';
  readonly path: string;
}

export interface FileAddress {
  readonly transport: 'file';
  readonly path: string;
  /** Where the stream starts in the file, in bytes. */
  readonly offset: number;
}

interface ExecAddress {
  readonly transport: 'exec';
  /** For `/bin/sh -c`. */
  readonly command: string;
}

interface FdAddress {
  readonly transport: 'fd';
  /** An inherited descriptor: a connected socket, a pipe or a file. */
  readonly fd: number;
}

const SCHEMES = 'tcp:, unix:, file:, exec: or fd:';
const MAX_PORT = 65535;
const MAX_HOST_LENGTH = 64;
/** The size of `sun_path`, whose last byte is the terminator. */
const UNIX_PATH_LIMIT_BYTES = 108;
const OFFSET_OPTION = ',offset=';

/**
 * Parses a migration URI as QEMU does.
 *
 * Commas start options only in `tcp:`; a `file:` path ends at the first `,offset=`; everything behind `unix:`
 * and `exec:` belongs to the path or command.
 *
 * @throws MigrationError `bad-uri`, or `unsupported` for what QEMU knows and pageferry does not
 */
export function parseUri(uri: string): MigrationAddress {
  if (uri.includes('\0')) throw badUri('a migration URI holds a NUL character', JSON.stringify(uri));
  if (uri === 'defer') {
    throw new MigrationError('unsupported', 'deferred addresses are not supported', {
      found: "'defer'",
      expected: `an address: ${SCHEMES}`,
    });
  }
  const colon = uri.indexOf(':');
  const rest = uri.slice(colon + 1);
  switch (colon < 0 ? '' : uri.slice(0, colon)) {
    case 'tcp':
      return parseTcp(rest);
    case 'unix':
      return parseUnix(rest);
    case 'file':
      return parseFile(rest);
    case 'exec':
      if (rest === '') throw badUri('the command of an exec: address is empty', "''", 'exec:COMMAND');
      return { transport: 'exec', command: rest };
    case 'fd':
      return parseFd(rest);
    case 'vsock':
    case 'rdma':
      throw new MigrationError('unsupported', 'a transport that is not supported', {
        found: quoted(uri),
        expected: SCHEMES,
      });
    default:
      throw badUri('unknown scheme of a migration URI', quoted(uri), SCHEMES);
  }
}

/** The URI that `parseUri` reads back as `address`. */
export function formatUri(address: MigrationAddress): string {
  switch (address.transport) {
    case 'tcp': {
      const host = address.host.includes(':') ? `[${address.host}]` : address.host;
      let uri = `tcp:${host}:${address.port}`;
      if (address.to !== undefined) uri += `,to=${address.to}`;
      if (address.ipv4 !== undefined) uri += `,ipv4=${address.ipv4 ? 'on' : 'off'}`;
      if (address.ipv6 !== undefined) uri += `,ipv6=${address.ipv6 ? 'on' : 'off'}`;
      if (address.keepAlive !== undefined) uri += `,keep-alive=${address.keepAlive ? 'on' : 'off'}`;
      return uri;
    }
    case 'unix':
      return `unix:${address.path}`;
    case 'file':
      return `file:${address.path}${address.offset === 0 ? '' : `${OFFSET_OPTION}${address.offset}`}`;
    case 'exec':
      return `exec:${address.command}`;
    case 'fd':
      return `fd:${address.fd}`;
  }
}

function parseTcp(text: string): TcpAddress {
  const comma = text.indexOf(',');
  const place = comma < 0 ? text : text.slice(0, comma);
  const match = /^(?:\[([^\]]*)\]|((?!\[)[^:]*)):(.*)$/s.exec(place);
  if (match === null) {
    const hint = place.split(':').length > 2 ? ', an IPv6 address in brackets' : '';
    throw badUri('a tcp: address has no port', quoted(place), `HOST:PORT${hint}`);
  }
  const [, bracketed, plain = '', portText = ''] = match;
  if (bracketed !== undefined && !isIPv6(bracketed)) {
    throw badUri('not an IPv6 address in brackets', quoted(bracketed), 'one such as [::1]');
  }
  const host = bracketed ?? plain;
  if (host.length > MAX_HOST_LENGTH) {
    throw badUri('the host name is too long', `${host.length} characters`, `at most ${MAX_HOST_LENGTH}`);
  }
  if (/\s/.test(host)) throw badUri('white space in a host name', quoted(host));
  if (bracketed === undefined && portText.includes(':')) {
    throw badUri('a tcp: address has more than one colon', quoted(place), 'an IPv6 address in brackets');
  }
  const port = parsePort(portText, 'port');
  const options = comma < 0 ? {} : parseTcpOptions(text.slice(comma + 1));
  const { to, numeric, ...rest } = options;
  if (to !== undefined && to < port)
    throw badUri('the last port is below the first', `to=${to}`, `${port} or more`);
  if (rest.ipv4 === false && rest.ipv6 === false) {
    throw badUri('IPv4 and IPv6 are both off', 'ipv4=off,ipv6=off', 'at least one of them on');
  }
  if (numeric === true && host !== '' && host !== '0' && isIP(host) === 0) {
    throw badUri('the host is a name in spite of the option numeric', quoted(host), 'a literal address');
  }
  const address: TcpAddress = { transport: 'tcp', host, port, ...(to === undefined ? {} : { to }), ...rest };
  const family = addressFamily(address);
  if (family !== 0 && isIP(host) !== 0 && isIP(host) !== family) {
    throw badUri(`the options allow IPv${family} only`, quoted(host), `an IPv${family} address or a name`);
  }
  return address;
}

/** 4 or 6 when the options restrict the address to one family, otherwise 0. */
export function addressFamily(address: TcpAddress): 0 | 4 | 6 {
  const { ipv4, ipv6 } = address;
  if (ipv4 === ipv6) return 0;
  return ipv6 === true || ipv4 === false ? 6 : 4;
}

interface TcpOptions {
  to?: number;
  ipv4?: boolean;
  ipv6?: boolean;
  numeric?: boolean;
  keepAlive?: boolean;
}

function parseTcpOptions(text: string): TcpOptions {
  const options: TcpOptions = {};
  for (const option of text.split(',')) {
    const equals = option.indexOf('=');
    const name = equals < 0 ? option : option.slice(0, equals);
    const value = equals < 0 ? undefined : option.slice(equals + 1);
    switch (name) {
      case 'to':
        options.to = parsePort(value ?? '', 'last port (to=)');
        break;
      case 'ipv4':
      case 'ipv6':
      case 'numeric':
        options[name] = parseFlag(name, value);
        break;
      case 'keep-alive':
        options.keepAlive = parseFlag(name, value);
        break;
      case 'mptcp':
        throw new MigrationError('unsupported', 'multipath TCP is not supported', { found: quoted(option) });
      default:
        throw badUri(
          'unknown option of a tcp: address',
          quoted(option),
          'to=, ipv4, ipv6, numeric or keep-alive',
        );
    }
  }
  return options;
}

function parseFlag(name: string, value: string | undefined): boolean {
  if (value === undefined || value === 'on') return true;
  if (value === 'off') return false;
  throw badUri(`the option ${name} has a wrong value`, quoted(value), 'on or off');
}

function parsePort(text: string, what: string): number {
  if (!/^[0-9]{1,32}$/.test(text))
    throw badUri(`the ${what} is not a number`, quoted(text), `0..${MAX_PORT}`);
  const port = Number(text);
  if (port > MAX_PORT) throw badUri(`the ${what} is out of range`, text, `0..${MAX_PORT}`);
  return port;
}

function parseUnix(path: string): UnixAddress {
  if (path === '') throw badUri('the path of a unix: address is empty', "''", 'unix:PATH');
  const lengthBytes = Buffer.byteLength(path);
  if (lengthBytes >= UNIX_PATH_LIMIT_BYTES) {
    throw badUri(
      'the path of a unix: address is too long',
      `${lengthBytes} bytes`,
      `fewer than ${UNIX_PATH_LIMIT_BYTES}`,
    );
  }
  return { transport: 'unix', path };
}

function parseFile(text: string): FileAddress {
  const at = text.indexOf(OFFSET_OPTION);
  const path = at < 0 ? text : text.slice(0, at);
  if (path === '') throw badUri('the path of a file: address is empty', quoted(text), 'file:PATH[,offset=N]');
  return {
    transport: 'file',
    path,
    offset: at < 0 ? 0 : parseOffset(text.slice(at + OFFSET_OPTION.length)),
  };
}

const SIZE_SUFFIXES = 'bkmgtpe';

/** Hexadecimal without a suffix, or decimal, possibly with a fraction, with one of QEMU's binary suffixes. */
function parseOffset(text: string): number {
  const expected = 'bytes as 4096, 0x1000, 4k, 1.5M, 2G or 1T';
  let bytes: number;
  const decimal = /^([0-9]+(?:\.[0-9]+)?)([bkmgtpe]?)$/i.exec(text);
  if (/^0x[0-9a-f]+$/i.test(text)) bytes = Number(text);
  else if (decimal !== null) {
    const power = SIZE_SUFFIXES.indexOf((decimal[2] || 'b').toLowerCase());
    if (power === 0 && text.includes('.'))
      throw badUri('a fraction of a byte in offset=', quoted(text), expected);
    bytes = Math.trunc(Number(decimal[1]) * 1024 ** power);
  } else throw badUri('offset= is not a size', quoted(text), expected);
  if (!Number.isSafeInteger(bytes)) {
    throw badUri('offset= is too large', text, `at most ${Number.MAX_SAFE_INTEGER} bytes`);
  }
  return bytes;
}

function parseFd(text: string): FdAddress {
  if (!/^[0-9]/.test(text)) {
    if (text === '') throw badUri('the descriptor of an fd: address is missing', "''", 'fd:NUMBER');
    throw new MigrationError('unsupported', 'descriptors passed under a name are not supported', {
      found: quoted(text),
      expected: 'the number of an inherited descriptor',
    });
  }
  const fd = /^[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(fd <= 0x7fffffff))
    throw badUri('not a file descriptor', quoted(text), 'a number from 0 to 2147483647');
  return { transport: 'fd', fd };
}

function badUri(message: string, found: string, expected?: string): MigrationError {
  return new MigrationError('bad-uri', message, { found, expected, phase: 'setup' });
}

function quoted(text: string): string {
  const shown = text.length > 200 ? `${text.slice(0, 200)}...` : text;
  return `'${shown}'`;
}
