/**
 * Builds the Linux guest for trying a migration by hand, and prints how to start it:
 *   node --conditions=pageferry-src scripts/linux-guest/mk-linux-guest.ts OUT [--cache-mib 240]
 *     [--anonymous-mib 80] [--from /usr]
 * The head of `init` says what can be asked of it over its serial port.
 */
import { parseArgs } from 'node:util';
import { buildLinuxGuest } from './build.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'cache-mib': { type: 'string', default: '240' },
    'anonymous-mib': { type: 'string', default: '80' },
    from: { type: 'string' },
  },
});
const [folder] = positionals;
if (folder === undefined || positionals.length > 1) throw new Error('usage: mk-linux-guest.ts OUT [options]');

const { kernelPath, initrdPath, commandLine } = await buildLinuxGuest({
  folder,
  cacheBytes: Number(values['cache-mib']) * 2 ** 20,
  anonymousBytes: Number(values['anonymous-mib']) * 2 ** 20,
  from: values.from,
});
console.log(
  `qemu-system-x86_64 -m 1G -nodefaults -display none -serial stdio -kernel ${kernelPath} ` +
    `-initrd ${initrdPath} -append '${commandLine}'`,
);
