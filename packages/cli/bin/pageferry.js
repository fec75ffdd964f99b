#!/usr/bin/env node
/*
 * The `pageferry` command. It is plain, old JavaScript, so that a Node that is too old to run pageferry can
 * still read it and say so (import and import.meta are the newest things in here: Node 12.20).
 *
 * In a repository it runs the TypeScript sources (Node strips the types) under the export condition that
 * makes the packages find each other's sources; installed from a tarball it runs dist, because Node does not
 * strip types below node_modules.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const NEEDED = [24, 20];
const CONDITION = '--conditions=pageferry-src';
const packageRoot = dirname(dirname(fileURLToPath(import.meta.url)));
const source = join(packageRoot, 'src', 'main.ts');
const compiled = join(packageRoot, 'dist', 'main.js');
const fromSource = existsSync(source);
const args = process.argv.slice(2);

if (isNewEnough(process.versions.node)) {
  if (!fromSource) load(compiled);
  else if (conditionIsActive()) load(source);
  else replaceBy(process.execPath);
} else {
  const packaged = fromSource ? repositoryNode() : undefined;
  if (packaged) replaceBy(packaged);
  else refuse();
}

function isNewEnough(version) {
  const parts = version.replace(/^v/, '').split('.').map(Number);
  return parts[0] > NEEDED[0] || (parts[0] === NEEDED[0] && parts[1] >= NEEDED[1]);
}

function conditionIsActive() {
  return process.execArgv.concat((process.env.NODE_OPTIONS || '').split(' ')).indexOf(CONDITION) >= 0;
}

/** The Node that `npm ci` put into the repository, if it is there and new enough. */
function repositoryNode() {
  const node = join(packageRoot, '..', '..', 'node_modules', '.bin', 'node');
  try {
    const version = execFileSync(node, ['--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return isNewEnough(version.trim()) ? node : undefined;
  } catch (_error) {
    return undefined;
  }
}

function refuse() {
  const needed = NEEDED.join('.');
  const lines = [
    `pageferry: Node ${needed} or newer is needed, this is Node ${process.versions.node} (${process.execPath})`,
    `Install it from https://nodejs.org/en/download, with a version manager (nvm install ${NEEDED[0]}), or with npm:`,
    `npm install node@${NEEDED[0]} beside pageferry, then run it with npx pageferry.`,
  ];
  if (fromSource)
    lines.push('In the repository, npm ci brings a Node of its own; then npx pageferry uses it.');
  console.error(lines.join('\n'));
  process.exitCode = 2;
}

function load(file) {
  if (!existsSync(file)) {
    console.error(`pageferry: ${file} is missing, this installation is incomplete`);
    process.exitCode = 1;
    return;
  }
  import(pathToFileURL(file).href).catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
}

/**
 * Runs the sources with `node` in place of this process. Where the process can be replaced, it is: signals,
 * terminal and exit code then need no help. Otherwise (an older Node, Windows, or a descriptor to hand on,
 * which a replaced process would find closed) a child does it, and this process only passes things on.
 */
function replaceBy(node) {
  const argv = [CONDITION, source].concat(args);
  // Every thread strips the types of every file that it loads, unless it finds the result of the last time.
  const cache = join(packageRoot, '..', '..', 'node_modules', '.cache', 'pageferry');
  const env = Object.assign({ NODE_COMPILE_CACHE: cache }, process.env);
  const descriptors = inheritedDescriptors();
  if (typeof process.execve === 'function' && process.platform !== 'win32' && descriptors.length === 0) {
    process.execve(node, [node].concat(argv), env);
  }
  const stdio = ['inherit', 'inherit', 'inherit'];
  for (const fd of descriptors) {
    while (stdio.length < fd) stdio.push('ignore');
    stdio[fd] = fd;
  }
  // The child ends when this channel closes: also when this process is killed and can pass nothing on.
  stdio.push('ipc');
  const child = spawn(node, argv, { stdio, env: Object.assign(env, { PAGEFERRY_LAUNCHER: '1' }) });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    // A terminal's Ctrl-C reaches the child as well; it takes two in quick succession as one.
    process.on(signal, () => child.kill(signal));
  }
  child.on('error', (error) => {
    console.error(`pageferry: ${node} cannot be started: ${error.message}`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    if (signal) {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    } else {
      process.exitCode = code;
    }
    if (child.connected) child.disconnect();
  });
}

/** Descriptors above 2 that the arguments name as `fd:N`. */
function inheritedDescriptors() {
  const found = args.map((arg) => /^fd:(\d+)$/.exec(arg)).filter(Boolean);
  return found.map((match) => Number(match[1])).filter((fd) => fd > 2 && fd < 1024);
}
