import { BuiltinMachine, BuiltinMachineTarget, type MigrateOptions, migrate, receive } from 'pageferry';

// Both sides must agree on these.
const multifd: MigrateOptions = { multifd: true, multifdChannels: 2, multifdCompression: 'zstd' };

// The destination, usually on another host: it waits for one guest.
const target = new BuiltinMachineTarget();
const reception = receive('tcp:127.0.0.1:0', { ...multifd, guest: target });

// The source: any Guest whose RAM lies in SharedArrayBuffers; here the machine that comes with pageferry.
const machine = await BuiltinMachine.create({ memoryBytes: 64 * 2 ** 20, dirtyRateBytesPerSecond: 2 ** 24 });
machine.start();

const patience = AbortSignal.timeout(30_000);
const migration = migrate(machine, await reception.listening, { ...multifd, signal: patience });
for await (const { status, ram } of migration.progress) {
  console.log(`${status}: ${ram.remaining} of ${ram.total} bytes left`);
}
const { downtimeMs } = await migration.result;
await reception.result;
console.log(`the guest stood still for ${downtimeMs.toFixed(1)} ms`);

// The guest runs at the destination now, and can tell whether all of its writes are there.
const check = await target.machine.check();
console.log(check.ok ? 'no write was lost' : check.problems.join('\n'));

await Promise.all([machine.close(), target.machine.close()]);
