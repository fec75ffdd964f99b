import test, { type TestContext } from 'node:test';
import { findQemu, type QemuVersion } from './find-qemus.ts';

/**
 * A test that needs real QEMUs. Where one is missing the test is skipped, by name and with the reason;
 * with PAGEFERRY_REQUIRE_QEMU=1 it fails instead.
 */
export function qemuTest(
  versions: QemuVersion | readonly QemuVersion[],
  name: string,
  body: (context: TestContext) => Promise<void>,
): void {
  const missing = [versions]
    .flat()
    .map((version) => findQemu(version).missing)
    .find((reason) => reason !== undefined);
  const required = process.env.PAGEFERRY_REQUIRE_QEMU === '1';
  const skip = missing !== undefined && !required ? missing : false;
  test(name, { skip, timeout: 90_000 }, async (context) => {
    if (missing !== undefined) throw new Error(missing);
    await body(context);
  });
}
