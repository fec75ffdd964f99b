import { MigrationError } from '@pageferry/core';
import { CapturedMachine, HeldTarget, loadCapture } from '@pageferry/core/capture';
import {
  DEFAULT_QEMU_VERSION,
  MigrationSettings,
  parseQemuVersion,
  type QemuVersion,
  type SettingsLimits,
} from '@pageferry/core/control/schema';
import { BuiltinMachine, BuiltinMachineTarget, type NetworkBackend } from '@pageferry/core/guest';
import { QmpServer, type RunState } from '@pageferry/core/qmp';
import { parseUri, type SocketAddress } from '@pageferry/core/transport';
import { openNetworkBackend, useHugePages } from '@pageferry/workers';
import {
  capturedRunState,
  HELD_GUEST_LIMITS,
  heldTarget,
  Monitor,
  type MonitoredGuest,
  type MonitorOptions,
  machineTarget,
  monitoredCapture,
  monitoredMachine,
  settingsLimits,
} from '@pageferry/workers/monitor';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Context } from '../context.ts';
import { showFileProgress } from '../file-progress.ts';
import { checkTargetSpec, GUEST_MEMBERS, type GuestSpec, parseGuestSpec } from '../guest-spec.ts';
import { parseUuidOption } from '../values.ts';

interface ServeFlags {
  qmp: SocketAddress[];
  qemuVersion: QemuVersion;
  guest?: GuestSpec;
  image?: string;
  incoming?: string;
  paused?: boolean;
  name?: string;
  uuid?: Uint8Array;
}

const EXAMPLES = `
A client that knows QEMU's QMP controls it: migrate, migrate-set-parameters,
query-migrate and so on, with the defaults of QEMU (max-bandwidth 128 MiB/s).
A guest that comes from an image, or that arrives without --guest builtin, is
held in memory and can be migrated on; it has no CPUs here, and its run state is
the one in which it arrives there.

Examples:
  pageferry serve --qmp unix:qmp.sock --guest builtin,size=1G,dirty-rate=64M
      a source; then
      {"execute": "migrate", "arguments": {"uri": "tcp:HOST:4444"}}
  pageferry serve --qmp tcp:127.0.0.1:4440 --incoming defer
      a destination of any guest, that migrate-incoming lets listen
  pageferry serve --qmp unix:qmp.sock --image vm.img --qemu-version 7.2
      a captured guest, under the QMP of QEMU 7.2
`;

/** `pageferry serve`: a source or destination that a QMP client controls as it would a QEMU. */
export function defineServe(program: Command, context: Context): Command {
  return program
    .command('serve')
    .description("be a machine that is controlled over QEMU's monitor protocol, QMP")
    .addOption(
      new Option('--qmp <address>', 'where clients connect: unix:PATH or tcp:HOST:PORT; may be repeated')
        .argParser(parseQmpAddress)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--qemu-version <release>', 'whose names, defaults, states and answers')
        .argParser(parseRelease)
        .default(DEFAULT_QEMU_VERSION),
    )
    .addOption(
      new Option('--guest <spec>', `builtin[,...]: the built-in machine, with ${GUEST_MEMBERS}`)
        .argParser(parseGuestSpec)
        .conflicts('image'),
    )
    .addOption(new Option('--image <file>', 'a capture, held in memory').conflicts('incoming'))
    .addOption(new Option('--incoming <uri>', 'wait for a guest there, or with defer for migrate-incoming'))
    .addOption(new Option('-S, --paused', 'the guest does not run until cont'))
    .addOption(new Option('--name <name>', 'the name that query-name tells'))
    .addOption(new Option('--uuid <uuid>', "the machine's UUID").argParser(parseUuidOption))
    .addHelpText('after', EXAMPLES)
    .action((flags: ServeFlags) => run(flags, context));
}

async function run(flags: ServeFlags, { output, signal, version }: Context): Promise<void> {
  const { incoming, name, uuid, qemuVersion } = flags;
  await useHugePages();
  const machine = await openMachine(flags, { output, signal, version });
  const monitor = new Monitor({
    machine,
    settings: new MigrationSettings({
      version: qemuVersion,
      side: 'guest' in machine ? 'source' : 'destination',
      limits: limitsOf(machine, flags),
    }),
    package: `pageferry ${version}`,
    name,
    uuid,
    onEvent: (event) => {
      server.emit(event);
      output.event(event.event, event);
    },
    log: (text) => output.note(text),
  });
  const server = new QmpServer({
    version: monitor.version,
    commands: monitor.commands,
    log: (text) => output.note(text),
  });
  const interrupted = () => monitor.end('host-signal');
  try {
    if (incoming !== undefined && incoming !== 'defer') {
      const address = await monitor.incoming!.listen({ uri: incoming }, true);
      output.note(`waiting for a guest on ${address}`);
      output.event('incoming', { address });
    }
    for (const address of flags.qmp) {
      const bound = await server.listen(address);
      output.note(`QMP of QEMU ${qemuVersion} on ${bound}`);
      output.event('listening', { address: bound });
    }
    signal.addEventListener('abort', interrupted, { once: true });
    if (signal.aborted) interrupted();
    const end = await monitor.ended;
    if ('error' in end) throw end.error;
  } finally {
    signal.removeEventListener('abort', interrupted);
    await Promise.all([server.close(), monitor.close()]);
  }
}

/** Capabilities that the guest lacks, or the one that will come. */
function limitsOf(machine: MonitorOptions['machine'], { guest: spec }: ServeFlags): SettingsLimits {
  if ('guest' in machine) return settingsLimits(machine.guest.guest);
  return spec === undefined ? HELD_GUEST_LIMITS : {};
}

/** The guest or what waits for one. */
async function openMachine(flags: ServeFlags, context: Context): Promise<MonitorOptions['machine']> {
  const { guest: spec, image, incoming, paused = false, uuid } = flags;
  if (incoming !== undefined) return { target: await openTarget(spec, uuid), paused };
  if (spec !== undefined) return startGuest(await openBuiltin(spec, uuid), 'running', paused);
  if (image === undefined) {
    throw new MigrationError('bad-option', 'there is no guest', {
      expected: '--guest builtin, --image FILE or --incoming URI',
    });
  }
  const onProgress = showFileProgress(context.output, 'reading', image);
  const machine = new CapturedMachine(await loadCapture(image, { signal: context.signal, onProgress }), {
    uuid,
  });
  return startGuest(monitoredCapture(machine), capturedRunState(machine), paused);
}

async function startGuest(guest: MonitoredGuest, state: RunState, paused: boolean) {
  if (state !== 'running') return { guest, state };
  if (paused) {
    await guest.stop();
    return { guest, state: 'prelaunch' as const };
  }
  await guest.start();
  return { guest, state };
}

async function openBuiltin(spec: GuestSpec, uuid: Uint8Array | undefined): Promise<MonitoredGuest> {
  const { mac } = spec;
  const backend = await openNetwork(spec);
  const nic = { ...(mac !== undefined && { mac }), ...(backend !== undefined && { backend }) };
  return monitoredMachine(await BuiltinMachine.create({ ...spec.machine, uuid, nic }));
}

async function openTarget(spec: GuestSpec | undefined, uuid: Uint8Array | undefined) {
  if (spec === undefined) return heldTarget(new HeldTarget({ uuid }));
  checkTargetSpec(spec);
  const { memoryBytes, vcpus } = spec.machine;
  const network = await openNetwork(spec);
  const target = new BuiltinMachineTarget({
    ...(spec.sized && { memoryBytes }),
    ...(vcpus !== undefined && { vcpus }),
    uuid,
    network,
  });
  await target.warmUp();
  return machineTarget(target);
}

async function openNetwork({ network }: GuestSpec): Promise<NetworkBackend | undefined> {
  return network === undefined ? undefined : openNetworkBackend(network);
}

function parseQmpAddress(text: string, before: SocketAddress[] = []): SocketAddress[] {
  const address = parseUri(text);
  if (address.transport === 'tcp' || address.transport === 'unix') return [...before, address];
  throw new InvalidArgumentError('QMP needs unix:PATH or tcp:HOST:PORT.');
}

function parseRelease(text: string): QemuVersion {
  try {
    return parseQemuVersion(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}
