import { MigrationError } from '../../error.ts';

export const MAC_BYTES = 6;

/** QEMU's first default address. */
export const DEFAULT_MAC = '52:54:00:12:34:56';

/**
 * The 6 bytes of a MAC address such as `52:54:00:12:34:56`.
 * @throws MigrationError `bad-option` for anything else, and for an address of a group
 */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw new MigrationError('bad-option', 'a MAC address is malformed', {
      found: text,
      expected: `6 bytes in hex, such as ${DEFAULT_MAC}`,
    });
  }
  const mac = Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
  if (isGroupMac(mac)) {
    throw new MigrationError('bad-option', 'a NIC cannot have a multicast MAC address', { found: text });
  }
  return mac;
}

/** Whether an address stands for several NICs: the lowest bit of its first byte says so. */
export function isGroupMac(mac: Uint8Array): boolean {
  return (mac[0]! & 1) !== 0;
}

export function formatMac(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
