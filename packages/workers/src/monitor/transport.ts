import { MigrationError } from '@pageferry/core';
import type { MigrationChannel, QmpMigrationAddress, SocketAddressInfo } from '@pageferry/core/qmp';
import { formatUri, type MigrationAddress, parseUri } from '@pageferry/core/transport';

/** Where a migration goes: the `uri` or the `channels` of `migrate` and `migrate-incoming`. */
export interface Destination {
  readonly uri?: string | undefined;
  readonly channels?: readonly MigrationChannel[] | undefined;
}

/**
 * The address of the main channel.
 * @throws MigrationError `bad-option`, `bad-uri`, `unsupported`
 */
export function addressOf({ uri, channels }: Destination): MigrationAddress {
  if (uri !== undefined && channels !== undefined) {
    throw new MigrationError('bad-option', 'either uri or channels, not both');
  }
  if (uri !== undefined) return parseUri(uri);
  if (channels === undefined) throw new MigrationError('bad-option', 'there is neither uri nor channels');
  const other = channels.find((channel) => channel['channel-type'] !== 'main');
  if (other !== undefined) {
    throw new MigrationError('unsupported', `a channel of type ${other['channel-type']} is not supported`);
  }
  const [main, second] = channels;
  if (main === undefined) throw new MigrationError('bad-option', 'channels has no entry for main');
  if (second !== undefined) {
    throw new MigrationError('bad-option', 'channels has several entries for main');
  }
  return channelAddress(main.addr);
}

/** Through the URI, whose reader has all the checks. */
function channelAddress(address: QmpMigrationAddress): MigrationAddress {
  switch (address.transport) {
    case 'file': {
      const { filename, offset } = address;
      return { transport: 'file', path: filename, offset };
    }
    case 'exec':
      return { transport: 'exec', command: execCommand(address.args) };
    case 'rdma':
      return parseUri(`rdma:${address.host}:${address.port}`);
    case 'socket':
      return socketAddress(address);
  }
}

function socketAddress(address: Extract<QmpMigrationAddress, { transport: 'socket' }>): MigrationAddress {
  switch (address.type) {
    case 'unix':
      if (address.abstract)
        throw new MigrationError('unsupported', 'abstract unix sockets are not supported');
      return parseUri(`unix:${address.path}`);
    case 'vsock':
      return parseUri(`vsock:${address.cid}:${address.port}`);
    case 'fd':
      return parseUri(`fd:${address.str}`);
    case 'inet': {
      const { host, port, transport, type, ...options } = address;
      const place = host.includes(':') ? `[${host}]` : host;
      const flags = Object.entries(options).map(([name, value]) =>
        typeof value === 'boolean' ? `${name}=${value ? 'on' : 'off'}` : `${name}=${value}`,
      );
      return parseUri(`tcp:${[`${place}:${port}`, ...flags].join(',')}`);
    }
  }
}

/** `/bin/sh -c COMMAND` as QEMU's URI form makes it, or the words of another program for the shell. */
function execCommand(args: readonly string[]): string {
  if (args.length === 0) throw new MigrationError('bad-option', 'exec: there is no command in args');
  const [shell, flag, commandLine, ...rest] = args;
  if (/(^|\/)sh$/.test(shell!) && flag === '-c' && commandLine !== undefined && rest.length === 0) {
    return commandLine;
  }
  return `exec ${args.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')}`;
}

/**
 * Refuses what the capabilities need of a transport and this one has not.
 * @throws MigrationError `bad-option`
 */
export function checkTransport(
  address: MigrationAddress,
  isOn: (capability: 'multifd' | 'mapped-ram') => boolean,
): void {
  const { transport } = address;
  if (isOn('mapped-ram') && transport !== 'file') {
    throw new MigrationError('bad-option', 'mapped-ram needs a file', {
      found: formatUri(address),
    });
  }
  const several = transport === 'tcp' || transport === 'unix';
  if (isOn('multifd') && !several && !isOn('mapped-ram')) {
    throw new MigrationError('bad-option', 'multifd needs a transport with several connections', {
      found: formatUri(address),
    });
  }
}

/** What `query-migrate` tells of an address that is listened on; undefined for one that is no socket. */
export function socketAddressInfo(uri: string): SocketAddressInfo | undefined {
  const address = parseUri(uri);
  if (address.transport === 'unix') return { type: 'unix', path: address.path };
  if (address.transport !== 'tcp') return undefined;
  const family = address.host.includes(':') ? 'ipv6' : 'ipv4';
  return { type: 'inet', host: address.host, port: String(address.port), [family]: true };
}
