import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { createZstdCompress } from 'node:zlib';
import { type ChosenFile, chooseFiles } from './choose-files.ts';
import { CpioType, CpioWriter } from './cpio.ts';

export interface LinuxGuest {
  readonly kernelPath: string;
  readonly initrdPath: string;
  /** For the kernel: its console is the first serial port. */
  readonly commandLine: string;
}

export interface LinuxGuestOptions {
  /** Where everything is made; nothing in it is to be committed: kernel, busybox and files are Debian's. */
  readonly folder: string;
  /** Files that stay in the guest's page cache. */
  readonly cacheBytes: number;
  /** Files whose bytes a program of the guest holds in anonymous memory. */
  readonly anonymousBytes: number;
  /** Where the files come from; `/usr` by default. */
  readonly from?: string;
}

/** What the serial port shows once memory is full. */
export const LINUX_GUEST_READY = 'READY';

/**
 * Builds a Linux guest whose memory fills with this machine's files: an initramfs with busybox, `init` and
 * the files. While it boots the compressed initramfs is in memory beside what it unpacks to. The kernel is the
 * one that linux-image-cloud-amd64 depends on, fetched by apt-get download; needs an x86-64 Debian with gcc,
 * no root.
 */
export async function buildLinuxGuest(options: LinuxGuestOptions): Promise<LinuxGuest> {
  const { folder, cacheBytes, anonymousBytes, from = '/usr' } = options;
  mkdirSync(folder, { recursive: true });
  const kernelPath = unpacked(folder, 'kernel', kernelPackage, 'boot', (name) => name.startsWith('vmlinuz'));
  const busybox = unpacked(
    folder,
    'busybox',
    () => 'busybox-static',
    'bin',
    (name) => name === 'busybox',
  );
  const programs = ['stress', 'hold'].map((name) => [name, compile(folder, name)] as const);

  const cpioPath = join(folder, 'initrd.cpio');
  const initrdPath = `${cpioPath}.zst`;
  {
    using cpio = new CpioWriter(cpioPath);
    addSystem(cpio, busybox, programs);
    addFiles(cpio, chooseFiles(from, cacheBytes + anonymousBytes), anonymousBytes);
    cpio.end();
  }
  await pipeline(createReadStream(cpioPath), createZstdCompress(), createWriteStream(initrdPath));
  rmSync(cpioPath);
  // A tmpfs would take half of the memory at most.
  return { kernelPath, initrdPath, commandLine: 'console=ttyS0 quiet rootfstype=ramfs' };
}

function addSystem(
  cpio: CpioWriter,
  busybox: string,
  programs: readonly (readonly [string, string])[],
): void {
  for (const name of ['bin', 'dev', 'proc', 'sys', 'data', 'anonymous', 'tmp']) {
    cpio.add(name, CpioType.directory | 0o755);
  }
  cpio.add('dev/console', CpioType.character | 0o600, undefined, [5, 1]);
  cpio.add('dev/ttyS0', CpioType.character | 0o600, undefined, [4, 64]);
  for (const [name, path] of [['bin/busybox', busybox], ['init', own('init')], ...programs] as const) {
    cpio.add(name, CpioType.file | 0o755, readFileSync(path));
  }
}

/** Those that fit go into the folder for anonymous memory, the others into the page cache, with their sums. */
function addFiles(cpio: CpioWriter, files: readonly ChosenFile[], anonymousBytes: number): void {
  let sums = '';
  let anonymousLeft = anonymousBytes;
  for (const [index, { path, bytes, kind }] of files.entries()) {
    const name = `${kind}-${index}`;
    const data = readFileSync(path);
    const isAnonymous = bytes <= anonymousLeft;
    cpio.add(`${isAnonymous ? 'anonymous' : 'data'}/${name}`, CpioType.file | 0o644, data);
    if (isAnonymous) anonymousLeft -= bytes;
    else sums += `${createHash('sha256').update(data).digest('hex')}  ${name}\n`;
  }
  cpio.add('data.sha256', CpioType.file | 0o644, Buffer.from(sums));
}

/** A file of a Debian package, which is fetched and unpacked if it was not before. */
function unpacked(
  folder: string,
  name: string,
  packageName: () => string,
  subfolder: string,
  isWanted: (name: string) => boolean,
): string {
  const tree = join(folder, name);
  const find = () => {
    const names = existsSync(join(tree, subfolder)) ? readdirSync(join(tree, subfolder)) : [];
    const found = names.find(isWanted);
    return found && join(tree, subfolder, found);
  };
  const there = find();
  if (there !== undefined) return there;
  const debian = packageName();
  execFileSync('apt-get', ['download', '-q', debian], { cwd: folder, stdio: ['ignore', 2, 2] });
  const archive = readdirSync(folder).find((file) => file.startsWith(`${debian}_`) && file.endsWith('.deb'));
  execFileSync('dpkg', ['-x', join(folder, archive!), tree]);
  const found = find();
  if (found === undefined) throw new Error(`the package ${debian} holds no such file in /${subfolder}`);
  return found;
}

function kernelPackage(): string {
  const depends = execFileSync('apt-cache', ['depends', 'linux-image-cloud-amd64'], { encoding: 'utf8' });
  const found = /Depends: (linux-image\S+)/.exec(depends)?.[1];
  if (found === undefined) throw new Error('apt knows no linux-image-cloud-amd64 (apt-get update?)');
  return found;
}

/** The guest has no libraries, so the program is linked statically. */
function compile(folder: string, name: string): string {
  const out = join(folder, name);
  execFileSync('gcc', ['-O2', '-static', '-Wall', '-o', out, own(`${name}.c`)], { stdio: ['ignore', 2, 2] });
  return out;
}

/** A file beside this one. */
function own(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
