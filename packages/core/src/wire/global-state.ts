/**
 * The device section `globalstate`: the run state that the guest had before it was stopped for the migration.
 *
 *   0   be32  length of the run state with its NUL
 *   4   u8[32] run state, padded with zeros
 *   36  u8    has_vm_was_suspended: 1 (up to 8.2 these two belong to the padding: 0)
 *   37  u8    vm_was_suspended
 *   38  u8[66] unused
 */
export const GLOBAL_STATE = 'globalstate';
export const GLOBAL_STATE_BYTES = 104;
export const RUN_STATE_BYTES = 32;

/** The section's content as QEMU 10 writes it. @param runState at most 31 letters and hyphens */
export function encodeGlobalState(runState: string): Uint8Array {
  const data = new Uint8Array(GLOBAL_STATE_BYTES);
  data[4 + RUN_STATE_BYTES] = 1;
  return withRunState(data, runState);
}

/** The same section with another run state. */
export function withRunState(section: Uint8Array, runState: string): Uint8Array {
  const data = section.slice();
  new DataView(data.buffer).setUint32(0, runState.length + 1);
  data.fill(0, 4, 4 + RUN_STATE_BYTES).set(new TextEncoder().encode(runState), 4);
  return data;
}

/** The run state, or undefined when there is none in these bytes. */
export function decodeRunState(section: Uint8Array): string | undefined {
  const end = section.indexOf(0, 4);
  if (section.length < 5 || end < 0) return undefined;
  const name = String.fromCharCode(...section.subarray(4, Math.min(end, 4 + RUN_STATE_BYTES)));
  return /^[a-z-]+$/.test(name) ? name : undefined;
}
