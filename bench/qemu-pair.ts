import { Qemu } from '../test/lib/qemu.ts';
import { type BenchConfig, type BenchRun, cpuSeconds, vmHwmBytes } from './run.ts';

/**
 * Migrates a stopped guest with the given RAM content from QEMU 10.0 to QEMU 10.0 over loopback. The return
 * path is on, so that the total time ends where pageferry's does: when the destination has the guest.
 */
export async function benchQemuPair({ compression, channels, content }: BenchConfig): Promise<BenchRun> {
  const version = '10.0';
  const memoryMib = content.sizeBytes / 2 ** 20;
  const ram = (backend: string) => [
    ...['-object', `${backend},id=ram,size=${content.sizeBytes},prealloc=on`],
    ...['-machine', 'memory-backend=ram'],
  ];
  // The content is mapped, not copied: a stopped guest does not write it.
  const filled = `memory-backend-file,mem-path=${content.path},share=on`;
  await using source = await Qemu.start({ version, memoryMib, paused: true, extraArgs: ram(filled) });
  await using destination = await Qemu.start({
    version,
    memoryMib,
    paused: true,
    incoming: 'defer',
    extraArgs: ram('memory-backend-ram'),
  });
  const both = [source, destination];
  for (const qemu of both) {
    await qemu.setCapabilities({ multifd: true, 'return-path': true, events: true });
    await qemu.setParameters({
      'multifd-channels': channels,
      'multifd-compression': compression,
      'multifd-zlib-level': 1,
      'multifd-zstd-level': 1,
      'max-bandwidth': 0,
    });
  }
  const uri = await destination.listen('tcp:127.0.0.1:0');
  const before = both.map(({ pid }) => cpuSeconds(pid));
  await source.migrate(uri);
  // Events, not polling: the monitor's work would be in the measured CPU time.
  await source.qmp.waitForEvent('MIGRATION', isOver, 600_000);
  await destination.qmp.waitForEvent('MIGRATION', isOver, 600_000);
  const costs = both.map(({ pid }, index) => ({
    cpuSeconds: cpuSeconds(pid) - before[index]!,
    vmHwmBytes: vmHwmBytes(pid),
  }));
  await destination.waitMigration();
  const info = await source.waitMigration();
  return {
    engine: 'qemu',
    compression,
    channels,
    totalMs: info['total-time']!,
    setupMs: info['setup-time']!,
    downtimeMs: info.downtime!,
    transferredBytes: info.ram!.transferred,
    guestBytes: content.sizeBytes,
    nonZeroBytes: content.nonZeroBytes,
    source: costs[0]!,
    destination: costs[1]!,
  };
}

function isOver({ data }: { data?: Record<string, unknown> }): boolean {
  return data?.status === 'completed' || data?.status === 'failed';
}
