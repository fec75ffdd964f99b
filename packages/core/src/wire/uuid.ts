/*
 * A guest's UUID on the wire: 16 bytes in the order in which they are printed (RFC 4122). In a multifd
 * handshake all zeros stand for "none".
 */
const UUID_BYTES = 16;
const PATTERN = /^[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;

/** The 16 bytes of `00112233-4455-6677-8899-aabbccddeeff`, with or without hyphens; undefined for anything else. */
export function parseUuid(text: string): Uint8Array | undefined {
  if (!PATTERN.test(text)) return undefined;
  const digits = text.replaceAll('-', '');
  return Uint8Array.from({ length: UUID_BYTES }, (_, i) =>
    Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16),
  );
}

/** The printed form of 16 bytes. */
export function formatUuid(uuid: Uint8Array): string {
  const digits = Array.from(uuid, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

export function sameUuid(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}

/** Whether the UUID stands for "none". */
export function isNilUuid(uuid: Uint8Array): boolean {
  return uuid.every((byte) => byte === 0);
}
