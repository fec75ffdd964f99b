import { MigrationError } from '../error.ts';
import type { DeviceState } from '../guest/contract.ts';
import { GLOBAL_STATE } from '../wire/global-state.ts';

/**
 * A guest's device state with or without the section that says whether it ran. A destination that gets none takes it
 * for running; QEMU before 2.4 knows no such section.
 *
 * @param store whether it must be there or must not; undefined: as the guest has it
 * @throws MigrationError `bad-option` when it must be there and is not
 */
export function withGlobalState(state: DeviceState, store: boolean | undefined): DeviceState {
  const has = state.sections.some(({ idstr }) => idstr === GLOBAL_STATE);
  if (store === undefined || has === store) return state;
  if (store) {
    throw new MigrationError('bad-option', 'store-global-state needs a guest that brings its run state', {
      found: `no section ${GLOBAL_STATE}`,
    });
  }
  const { early, sections, vmdesc } = state;
  return {
    early,
    sections: sections.filter(({ idstr }) => idstr !== GLOBAL_STATE),
    ...(vmdesc !== undefined && { vmdesc: withoutDevice(vmdesc, GLOBAL_STATE) }),
  };
}

/** A vmdescription describes every section that comes, so none that does not. */
function withoutDevice(vmdesc: Uint8Array, name: string): Uint8Array {
  const description = JSON.parse(new TextDecoder().decode(vmdesc)) as { devices: { name: string }[] };
  const devices = description.devices.filter((device) => device.name !== name);
  return new TextEncoder().encode(JSON.stringify({ ...description, devices }));
}
