import type { ErrorPhase } from '../error.ts';
import { withGlobalState } from './global-state.ts';
import type { SourceControl, SourceStream } from './parts.ts';
import { waitPatiently } from './patience.ts';

/**
 * Stops the guest and sends the rest of it: RAM, then the device state. Returns when the destination has said that
 * it holds the guest; without a return path when everything is handed to the kernel.
 *
 * The order is QEMU's: the vCPUs stop, a pause if it is asked for, the disks are given up, then the last pages. Whoever
 * waits in `pre-switchover` therefore still has the guest's disks.
 *
 * @param enterPhase told the part in which an error would be
 */
export async function switchOver(
  control: SourceControl,
  parts: SourceStream,
  enterPhase: (phase: ErrorPhase) => void,
): Promise<void> {
  const { signal, stats, guest, state, live, watch } = control;
  const { ram, stream, flow, channel, sender, returnPath } = parts;
  enterPhase('switchover');
  stats.guestStops();
  await guest.stop();
  signal.throwIfAborted();
  if (live.pauseBeforeSwitchover) {
    state.enter('pre-switchover');
    await waitPatiently(control, parts, control.continued);
  }
  state.enter('device');
  await watch.pausedDuring(guest.inactivate());
  signal.throwIfAborted();
  ram.sync();
  stats.synced();
  if (parts.switches.sendSwitchoverStart) stream.switchoverStart();
  await flow.writeEnd();
  signal.throwIfAborted();

  enterPhase('device');
  const saved = withGlobalState(await watch.pausedDuring(guest.saveDeviceState()), live.storeGlobalState);
  signal.throwIfAborted();
  stream.devices(saved);
  if (returnPath !== undefined) returnPath.allSent = true;
  await channel.flushed();
  await sender?.flushed();
  if (returnPath !== undefined) await returnPath.verdict;
  signal.throwIfAborted();
}
