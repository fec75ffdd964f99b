import assert from 'node:assert/strict';
import type { Qemu } from './qemu.ts';
import { checkTinyGuest, type TinyGuestReport } from './tiny-guest.ts';

/** Stops the machine and checks the tiny guest's whole memory. Leaves it stopped. */
export async function expectConsistentGuest(qemu: Qemu): Promise<TinyGuestReport> {
  await qemu.stop();
  const ram = (await qemu.ramBlocks()).find(({ idstr }) => idstr === 'pc.ram');
  assert.ok(ram, 'QEMU has no block pc.ram');
  const report = checkTinyGuest(await qemu.readMemory(0, ram.usedLengthBytes));
  assert.deepEqual(report.problems, []);
  return report;
}

/**
 * The tiny guest runs here and its memory is whole: checked as it is now, and again after it has printed
 * further passes. Leaves it stopped.
 */
export async function expectLiveGuest(qemu: Qemu): Promise<void> {
  await qemu.waitRunning();
  const before = await expectConsistentGuest(qemu);
  await qemu.cont();
  await qemu.waitForMoreSerial();
  const after = await expectConsistentGuest(qemu);
  assert.ok(after.passes > before.passes, 'the guest prints, but its memory does not change');
}
