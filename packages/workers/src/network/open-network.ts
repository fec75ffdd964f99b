import { isIPv6 } from 'node:net';
import { MigrationError } from '@pageferry/core';
import { type NetworkBackend, openUdpBackend } from '@pageferry/core/guest';
import { openTapBackend } from './tap.ts';

/**
 * Opens where a machine's NIC sends its frames: `udp:HOST:PORT`, one datagram a frame, as QEMU's socket and dgram
 * network back ends take it (an IPv6 address in brackets), or `tap:NAME`, a tap device of this host.
 *
 * @throws MigrationError `bad-option` for anything else and for what this host refuses, `unsupported`
 */
export async function openNetworkBackend(text: string): Promise<NetworkBackend> {
  const [, tap] = /^tap:(.*)$/s.exec(text) ?? [];
  if (tap !== undefined) return openTapBackend(tap);
  const [, bracketed, plain, portText] = /^udp:(?:\[([^\]]+)\]|([^:[\]\s]+)):([0-9]{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(portText);
  const isHost = host !== undefined && (bracketed === undefined || isIPv6(bracketed));
  if (!isHost || port < 1 || port > 65535) {
    throw new MigrationError('bad-option', 'not a network back end', {
      found: text.slice(0, 200),
      expected: 'udp:HOST:PORT or tap:NAME',
    });
  }
  return openUdpBackend(host, port);
}
