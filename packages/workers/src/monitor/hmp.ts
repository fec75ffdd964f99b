import { isAlive, type QemuVersion } from '@pageferry/core/control/schema';
import { type QmpCommands, QmpError, type QmpMigrationStatus } from '@pageferry/core/qmp';
import { dirtyLimitLines, dirtyRateLines } from './hmp-dirty-rate.ts';
import type { HmpGlobals } from './hmp-globals.ts';
import { type HmpArguments, type HmpSyntax, HmpUsageError, readArguments, splitWords } from './hmp-line.ts';
import { groupedMigrationLines, migrationLines } from './hmp-migration.ts';
import { parameterLines, parameterValue } from './hmp-settings.ts';

/**
 * The monitor for people, as far as migration needs it: every line is made of QMP commands of the same process, so
 * that both say and do the same.
 */
export interface HmpMonitor {
  /** Whose layout is shown. */
  readonly version: QemuVersion;
  readonly globals: HmpGlobals;
  /** Runs a QMP command. @throws QmpError */
  execute<C extends keyof QmpCommands>(
    command: C,
    args: QmpCommands[C]['arguments'],
  ): Promise<QmpCommands[C]['return']>;
}

interface HmpCommand extends HmpSyntax {
  /** The lines that are shown. */
  run(monitor: HmpMonitor, args: HmpArguments): Promise<readonly string[]>;
}

/**
 * Runs a line, as `human-monitor-command` does. What goes wrong is told in the text.
 *
 * @returns lines with CR LF, as QEMU has them
 */
export async function runHmp(line: string, monitor: HmpMonitor): Promise<string> {
  const lines = await run(line, monitor).catch((error: unknown) => {
    if (error instanceof QmpError) return [`Error: ${error.desc}`];
    if (error instanceof HmpUsageError) return [error.message];
    throw error;
  });
  return lines.map((text) => `${text}\r\n`).join('');
}

async function run(line: string, monitor: HmpMonitor): Promise<readonly string[]> {
  const words = splitWords(line);
  const first = words.shift();
  if (first === undefined) return [];
  const isInfo = first === 'info';
  const name = isInfo ? words.shift() : first;
  if (name === undefined || first === 'help') return helpLines(monitor.version);
  const table = isInfo ? INFO : COMMANDS;
  const command = Object.hasOwn(table, name) ? table[name] : undefined;
  // Clients look for these two words.
  if (command === undefined) throw new HmpUsageError(`unknown command: '${isInfo ? `info ${name}` : name}'`);
  return command.run(monitor, readArguments(name, words, command));
}

function helpLines(version: QemuVersion): string[] {
  const usage = (name: string, { flags = '', takes = [] }: HmpSyntax) => {
    const options = [...flags].map((flag) => ` [-${flag}]`).join('');
    const values = takes.map((take) => (take.endsWith('?') ? ` [${take.slice(0, -1)}]` : ` ${take}`));
    return `${name}${options}${values.join('')}`;
  };
  return [
    ...Object.entries(COMMANDS).map(([name, command]) => usage(name, command)),
    ...Object.entries(INFO).map(([name, command]) => usage(`info ${name}`, command)),
    `(as QEMU ${version})`,
  ];
}

/** A command that only passes its arguments on. */
function plain<C extends keyof QmpCommands>(
  command: C,
  syntax: HmpSyntax,
  toArguments: (values: Readonly<Record<string, string>>) => QmpCommands[C]['arguments'],
): HmpCommand {
  return {
    ...syntax,
    async run(monitor, { values }) {
      await monitor.execute(command, toArguments(values));
      return [];
    },
  };
}

const NONE = {} as Record<string, never>;

const COMMANDS: Readonly<Record<string, HmpCommand>> = {
  migrate: {
    flags: 'dbir',
    takes: ['uri'],
    async run(monitor, { flags, values: { uri = '' } }) {
      const more = { b: 'blk', i: 'inc', r: 'resume' } as const;
      const given = (['b', 'i', 'r'] as const).filter((flag) => flags.has(flag));
      await monitor.execute('migrate', {
        uri,
        ...Object.fromEntries(given.map((flag) => [more[flag], true])),
      });
      return flags.has('d') ? [] : ['nobody can wait here, the migration goes on in the background'];
    },
  },
  migrate_cancel: plain('migrate_cancel', {}, () => NONE),
  migrate_continue: plain('migrate-continue', { takes: ['state'] }, ({ state }) => ({
    state: state as QmpMigrationStatus,
  })),
  migrate_incoming: plain('migrate-incoming', { takes: ['uri'] }, ({ uri }) => ({ uri })),
  migrate_pause: plain('migrate-pause', {}, () => NONE),
  migrate_set_capability: plain(
    'migrate-set-capabilities',
    { takes: ['capability', 'state'] },
    ({ capability = '', state = '' }) => ({ capabilities: [{ capability, state: onOff(state) }] }),
  ),
  migrate_set_parameter: plain(
    'migrate-set-parameters',
    { takes: ['parameter', 'value'] },
    ({ parameter = '', value = '' }) => ({ [parameter]: parameterValue(parameter, value) }),
  ),
  announce_self: {
    takes: ['interfaces?', 'id?'],
    async run(monitor, { values: { interfaces, id } }) {
      const parameters = await monitor.execute('query-migrate-parameters', NONE);
      const value = (name: string) => Number(parameters[`announce-${name}`]);
      await monitor.execute('announce-self', {
        initial: value('initial'),
        max: value('max'),
        rounds: value('rounds'),
        step: value('step'),
        ...(interfaces === undefined ? {} : { interfaces: interfaces.split(',') }),
        ...(id === undefined ? {} : { id }),
      });
      return [];
    },
  },
  calc_dirty_rate: {
    flags: 'rb',
    takes: ['second', 'sample_pages_per_GB?'],
    async run(monitor, { flags, values: { second = '', sample_pages_per_GB: pages } }) {
      const mode = flags.has('r') ? 'dirty-ring' : flags.has('b') ? 'dirty-bitmap' : 'page-sampling';
      await monitor.execute('calc-dirty-rate', {
        'calc-time': integer('second', second),
        ...(pages === undefined ? {} : { 'sample-pages': integer('sample_pages_per_GB', pages) }),
        mode,
      });
      return [`measuring for ${second} seconds; then 'info dirty_rate' tells`];
    },
  },
  set_vcpu_dirty_limit: plain(
    'set-vcpu-dirty-limit',
    { takes: ['dirty_rate', 'cpu_index?'] },
    ({ dirty_rate: rate = '', cpu_index: cpu }) => ({
      'dirty-rate': integer('dirty_rate', rate),
      ...cpuIndex(cpu),
    }),
  ),
  cancel_vcpu_dirty_limit: plain('cancel-vcpu-dirty-limit', { takes: ['cpu_index?'] }, (values) =>
    cpuIndex(values.cpu_index),
  ),
  stop: plain('stop', {}, () => NONE),
  cont: plain('cont', {}, () => NONE),
  quit: plain('quit', {}, () => NONE),
};

const INFO: Readonly<Record<string, HmpCommand>> = {
  migrate: {
    flags: 'a',
    async run(monitor, { flags }) {
      const { version, globals } = monitor;
      const info = await monitor.execute('query-migrate', NONE);
      const layout = {
        decompressErrorCheck: isAlive({ since: '3.0', removed: '9.1' }, version),
        sendSwitchoverStart: isAlive({ since: '10.0' }, version),
      };
      const all = flags.has('a');
      if (isAlive({ since: '10.1' }, version)) return groupedMigrationLines(info, globals, layout, all);
      if (all) throw new HmpUsageError('migrate: -a is not known');
      return migrationLines(info, globals, layout);
    },
  },
  migrate_parameters: {
    run: async (monitor) => parameterLines(await monitor.execute('query-migrate-parameters', NONE)),
  },
  migrate_capabilities: {
    async run(monitor) {
      const capabilities = await monitor.execute('query-migrate-capabilities', NONE);
      return capabilities.map(({ capability, state }) => `${capability}: ${state ? 'on' : 'off'}`);
    },
  },
  dirty_rate: { run: async (monitor) => dirtyRateLines(await monitor.execute('query-dirty-rate', NONE)) },
  vcpu_dirty_limit: {
    run: async (monitor) => dirtyLimitLines(await monitor.execute('query-vcpu-dirty-limit', NONE)),
  },
  status: {
    async run(monitor) {
      const { running, status } = await monitor.execute('query-status', NONE);
      if (running) return ['VM status: running'];
      return [`VM status: paused${status === 'paused' ? '' : ` (${status})`}`];
    },
  },
  name: {
    async run(monitor) {
      const { name } = await monitor.execute('query-name', NONE);
      return name === undefined ? [] : [name];
    },
  },
  uuid: { run: async (monitor) => [(await monitor.execute('query-uuid', NONE)).UUID] },
  version: {
    async run(monitor) {
      const { qemu, package: build } = await monitor.execute('query-version', NONE);
      return [`${qemu.major}.${qemu.minor}.${qemu.micro}${build}`];
    },
  },
};

function onOff(text: string): boolean {
  if (text === 'on' || text === 'off') return text === 'on';
  throw new HmpUsageError(`migrate_set_capability: found ${JSON.stringify(text)}, expected on or off`);
}

function integer(name: string, text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value)) return value;
  throw new HmpUsageError(`${name}: found ${JSON.stringify(text)}, expected an integer`);
}

function cpuIndex(text: string | undefined): { 'cpu-index'?: number } {
  return text === undefined ? {} : { 'cpu-index': integer('cpu_index', text) };
}
