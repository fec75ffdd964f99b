import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { Consent } from './consent.ts';
import { Convergence } from './convergence.ts';
import type { SourceControl, SourceStream } from './parts.ts';

/** A PART section ends after this long, so that the loop looks at the clock and the guest (QEMU's MAX_WAIT). */
const PART_LIMIT_MS = 50;
/** How often queues that are still too full for the switch-over are looked at, ms. */
const QUEUE_POLL_MS = 2;
/** How often, meanwhile, it is looked what the guest has written, ms. */
const QUEUE_SYNC_MS = 50;
/** With auto-converge the dirty log is looked at this often at least, once the first pass is over (as QEMU 10 does). */
const CONVERGE_SYNC_MS = 5000;
/** How often, while the destination does not agree to the switch-over, it is looked what the guest has written, ms. */
const CONSENT_WAIT_MS = 100;
/** The value of the PING that opened the return path. */
const FIRST_PING = 1;

/** Sends dirty pages until what is left fits into the downtime limit, and as long after that as it pays. */
export async function iterate(control: SourceControl, parts: SourceStream): Promise<void> {
  const { live, signal, stats } = control;
  const { flow, ram, pacer, throttle } = parts;
  const convergence = new Convergence();
  let pings = FIRST_PING;
  let lastSyncMs = performance.now();
  const sync = (): number => {
    lastSyncMs = performance.now();
    const dirtied = ram.sync();
    const period = stats.synced();
    if (period !== undefined) throttle.periodEnded(period);
    return dirtied;
  };
  const consent = new Consent(control, parts);
  /** The guest could be stopped, but the pass is finished first. */
  let finishing = false;
  for (;;) {
    signal.throwIfAborted();
    stats.measure();
    const threshold = pacer.thresholdBytes;
    const passEnded = ram.dirtyPages === 0;
    if (passEnded && finishing && consent.given) await arrived(control, parts, ++pings);
    // All is handed over and the queues alone do not fit: what the guest has written since would only make them longer.
    const queueing =
      passEnded && flow.pendingBytes() > threshold && performance.now() - lastSyncMs < QUEUE_SYNC_MS;
    if (!queueing && (passEnded || (!finishing && flow.pendingBytes() < threshold))) {
      const dirtied = sync();
      const pending = flow.pendingBytes();
      const fits = pending <= threshold;
      const goOn = convergence.paysToGoOn(dirtied * TARGET_PAGE_BYTES, pending, pacer.bytesPerMs, fits);
      if (!goOn && consent.given) return;
      finishing = fits;
    } else if (
      live.autoConverge &&
      ram.dirtySyncCount > 1 &&
      performance.now() - lastSyncMs >= CONVERGE_SYNC_MS
    ) {
      sync();
    }
    if (ram.dirtyPages > 0) await flow.writePart(PART_LIMIT_MS);
    else if (!consent.given && flow.pendingBytes() === 0) await consent.wait(CONSENT_WAIT_MS);
    else await new Promise((resolve) => setTimeout(resolve, QUEUE_POLL_MS));
  }
}

/**
 * Waits until the destination has all that was sent: buffers on the way, that hold more than the downtime
 * limit allows, empty while the guest runs.
 */
async function arrived(control: SourceControl, parts: SourceStream, ping: number): Promise<void> {
  const { flow, sender, channel, returnPath, stream } = parts;
  // Ends with a sync point, behind which the answer comes.
  await flow.writePart(0);
  if (returnPath === undefined) {
    await sender?.flushed();
    await channel.flushed();
  } else {
    stream.ping(ping);
    await Promise.race([returnPath.pong(ping), control.stopped]);
  }
  control.signal.throwIfAborted();
}
