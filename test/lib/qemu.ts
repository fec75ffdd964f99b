import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type MigrationInfo, QmpClient } from '@pageferry/core/qmp';
import { findQemu, type QemuVersion } from './find-qemus.ts';

export interface QemuOptions {
  version: QemuVersion;
  /** Instead of the one that is found for the version; it must know that version's machine. */
  binary?: string;
  /** Default: `pc-i440fx-` and the version. */
  machine?: string;
  memoryMib?: number;
  /**
   * Image in `test/fixtures/guest`. Default: the one for the version. QEMU 7.2 loses dirty pages under TCG
   * unless the guest flushes its TLB, which only `tiny-rom-72` does.
   */
  bios?: 'tiny-rom' | 'tiny-rom-72';
  /** `defer`, or the URI to listen on from the start. */
  incoming?: string;
  /** Start with stopped vCPUs (for a destination: stay stopped after the migration). */
  paused?: boolean;
  extraArgs?: readonly string[];
}

export interface QemuBlock {
  idstr: string;
  usedLengthBytes: number;
}

const START_TIMEOUT_MS = 20_000;
const STDERR_LIMIT = 16 * 1024;
const POLL_MS = 10;

/** A QEMU process with its own folder. Dispose of it with `await using`: nothing of it stays behind. */
export class Qemu implements AsyncDisposable {
  readonly version: QemuVersion;
  readonly qmp: QmpClient;
  readonly pid: number;
  /** Private folder, gone after disposal; for sockets and files of the test. */
  readonly folder: string;
  readonly #exited: Promise<void>;
  readonly #process: ChildProcess;
  readonly #stderr: () => string;

  private constructor(
    version: QemuVersion,
    qmp: QmpClient,
    folder: string,
    process: ChildProcess,
    exited: Promise<void>,
    stderr: () => string,
  ) {
    this.version = version;
    this.qmp = qmp;
    this.pid = process.pid!;
    this.folder = folder;
    this.#exited = exited;
    this.#process = process;
    this.#stderr = stderr;
  }

  static async start(options: QemuOptions): Promise<Qemu> {
    const binary = options.binary ?? foundBinary(options.version);
    const folder = await mkdtemp(join(tmpdir(), 'pageferry-qemu-'));
    const monitor = await listenForMonitor(join(folder, 'qmp'));
    const child = spawnTied(binary, commandLine(options, folder));
    const stopWatching = cleanUpAtExit(child, folder);
    let stderr = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-STDERR_LIMIT);
    });
    const exited = new Promise<void>((resolve) => {
      const ended = () => {
        stopWatching();
        resolve();
      };
      child.on('close', ended);
      child.on('error', (error) => {
        stderr += error.message;
        ended();
      });
    });
    try {
      const died = exited.then(() => {
        throw new Error(`QEMU ${options.version} did not start: ${stderr}`);
      });
      const socket = await Promise.race([
        monitor.connected,
        died,
        timeLimit(START_TIMEOUT_MS, 'QEMU has not started'),
      ]);
      const qmp = await Promise.race([QmpClient.open(socket), died]);
      return new Qemu(options.version, qmp, folder, child, exited, () => stderr);
    } catch (error) {
      child.kill('SIGKILL');
      await exited;
      await rm(folder, { recursive: true, force: true });
      throw error;
    } finally {
      monitor.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.qmp.close();
    this.#process.kill('SIGKILL');
    await this.#exited;
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Waits until the process has ended by itself, as a destination does whose migration failed. */
  waitExit(timeoutMs = 10_000): Promise<void> {
    return Promise.race([this.#exited, timeLimit(timeoutMs, 'QEMU has not ended')]);
  }

  /** What QEMU has written to its standard error. */
  stderr(): string {
    return this.#stderr();
  }

  async setCapabilities(capabilities: Record<string, boolean>): Promise<void> {
    const list = Object.entries(capabilities).map(([capability, state]) => ({ capability, state }));
    await this.qmp.execute('migrate-set-capabilities', { capabilities: list });
  }

  async setParameters(parameters: Record<string, number | string | boolean>): Promise<void> {
    await this.qmp.execute('migrate-set-parameters', parameters);
  }

  /** Starts to listen (needs `incoming: 'defer'`). Returns the URI for the source, port 0 resolved. */
  async listen(uri: string): Promise<string> {
    await this.qmp.execute('migrate-incoming', { uri });
    const address = (await this.qmp.execute('query-migrate'))['socket-address']?.[0];
    return address?.type === 'inet' ? `tcp:${address.host}:${address.port}` : uri;
  }

  async migrate(uri: string): Promise<void> {
    await this.qmp.execute('migrate', { uri });
  }

  /**
   * Migrates the running tiny guest so that it surely iterates: slowly and with no downtime allowed until
   * RAM was synced `syncs` times, then fast. (The guest dirties its region of 1.5 MiB faster than any pass
   * ends. At 4 MiB/s one pass takes longer than the 100 ms over which QEMU measures its bandwidth; before
   * that it may switch over at any moment.)
   */
  async migrateIterating(uri: string, syncs = 3): Promise<MigrationInfo> {
    await this.setParameters({ 'max-bandwidth': 4 << 20, 'downtime-limit': 1 });
    await this.migrate(uri);
    await this.#pollMigration((info) => (info.ram?.['dirty-sync-count'] ?? 0) >= syncs);
    await this.setParameters({ 'max-bandwidth': 2 ** 33, 'downtime-limit': 2000 });
    return this.waitMigration();
  }

  /**
   * Waits until the migration has that status. A failed or cancelled migration ends the waiting at once with
   * an error, unless it is what is waited for.
   */
  waitMigration(status = 'completed', timeoutMs = 30_000): Promise<MigrationInfo> {
    return this.#pollMigration((info) => info.status === status, timeoutMs);
  }

  async #pollMigration(
    reached: (info: MigrationInfo) => boolean,
    timeoutMs = 30_000,
  ): Promise<MigrationInfo> {
    for (const deadline = performance.now() + timeoutMs; ; await sleep(POLL_MS)) {
      const info = await this.qmp.execute('query-migrate');
      if (reached(info)) return info;
      const over = info.status === 'failed' || info.status === 'cancelled' || info.status === 'completed';
      if (over || performance.now() > deadline) {
        throw new Error(
          `QEMU ${this.version}: migration is ${info.status ?? 'none'}` +
            `${info['error-desc'] === undefined ? '' : ` (${info['error-desc']})`} ${this.stderr()}`,
        );
      }
    }
  }

  stop(): Promise<unknown> {
    return this.qmp.execute('stop');
  }

  cont(): Promise<unknown> {
    return this.qmp.execute('cont');
  }

  /** Waits until the machine runs: at a destination, until it has taken over. */
  async waitRunning(timeoutMs = 30_000): Promise<void> {
    for (const deadline = performance.now() + timeoutMs; ; await sleep(POLL_MS)) {
      const { status, running } = await this.qmp.execute('query-status');
      if (running) return;
      if (performance.now() > deadline) {
        throw new Error(`QEMU ${this.version} does not run: ${status} ${this.stderr()}`);
      }
    }
  }

  /** What the guest has printed on this QEMU's serial port. */
  serialOutput(): Promise<string> {
    return readFile(join(this.folder, 'serial'), 'latin1');
  }

  /** Waits until the guest has printed that text. */
  async waitForSerial(text: string, timeoutMs = 20_000): Promise<void> {
    for (const deadline = performance.now() + timeoutMs; ; await sleep(POLL_MS)) {
      const output = await this.serialOutput();
      if (output.includes(text)) return;
      if (performance.now() < deadline) continue;
      throw new Error(`QEMU ${this.version}: the guest did not print ${text}: ${output} ${this.stderr()}`);
    }
  }

  /** Waits until the tiny guest has printed further passes here: it is alive. */
  async waitForMoreSerial(passes = 3, timeoutMs = 20_000): Promise<void> {
    const count = async () => (await this.serialOutput()).split('B').length;
    const wanted = (await count()) + passes;
    for (const deadline = performance.now() + timeoutMs; (await count()) < wanted; await sleep(POLL_MS)) {
      if (performance.now() < deadline) continue;
      throw new Error(`QEMU ${this.version}: the guest prints no more: ${await this.serialOutput()}`);
    }
  }

  /** Physical memory as the guest sees it. */
  async readMemory(start: number, lengthBytes: number): Promise<Buffer> {
    const filename = join(this.folder, 'memory');
    await this.qmp.execute('pmemsave', { val: start, size: lengthBytes, filename });
    return readFile(filename);
  }

  async ramBlocks(): Promise<QemuBlock[]> {
    const table = await this.qmp.execute('human-monitor-command', { 'command-line': 'info ramblock' });
    const row = /^\s*(\S+)\s+\d+ \w+\s+0x[0-9a-f]+\s+(0x[0-9a-f]+)/gm;
    return Array.from(table.matchAll(row), ([, idstr, used]) => ({
      idstr: idstr!,
      usedLengthBytes: Number(used),
    }));
  }
}

function foundBinary(version: QemuVersion): string {
  const { binary, missing } = findQemu(version);
  if (missing !== undefined) throw new Error(missing);
  return binary;
}

function commandLine(options: QemuOptions, folder: string): string[] {
  const { version, machine = `pc-i440fx-${version}`, memoryMib = 16, incoming } = options;
  const bios = options.bios ?? (version === '7.2' ? 'tiny-rom-72' : 'tiny-rom');
  return [
    ...['-machine', `${machine},acpi=off,accel=tcg`, '-cpu', 'qemu64', '-m', `${memoryMib}M`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-monitor', 'none'],
    ...['-bios', fileURLToPath(new URL(`../fixtures/guest/${bios}.bin`, import.meta.url))],
    ...['-chardev', `file,id=serial,path=${join(folder, 'serial')}`, '-device', 'isa-serial,chardev=serial'],
    // QEMU connects to the harness: no polling for its socket to appear.
    ...['-chardev', `socket,id=qmp,path=${join(folder, 'qmp')}`, '-mon', 'chardev=qmp,mode=control'],
    ...(options.paused ? ['-S'] : []),
    ...(incoming === undefined ? [] : ['-incoming', incoming]),
    ...(options.extraArgs ?? []),
  ];
}

/** Starts a child that the kernel kills should this process be killed (where util-linux is there for that). */
function spawnTied(binary: string, args: string[]): ChildProcess {
  const setpriv = ['/usr/bin/setpriv', '--pdeathsig', 'KILL'];
  const [command, ...rest] = existsSync(setpriv[0]!) ? [...setpriv, binary, ...args] : [binary, ...args];
  return spawn(command!, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** For a test process that exits without disposing. Returns how to take it back. */
function cleanUpAtExit(child: ChildProcess, folder: string): () => void {
  const cleanUp = () => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  process.on('exit', cleanUp);
  return () => process.off('exit', cleanUp);
}

async function listenForMonitor(path: string): Promise<{ connected: Promise<Socket>; close(): void }> {
  const server = createServer();
  const connected = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
  return { connected, close: () => server.close() };
}

async function timeLimit(timeoutMs: number, what: string): Promise<never> {
  await sleep(timeoutMs, undefined, { ref: false });
  throw new Error(`${what} within ${timeoutMs} ms`);
}
