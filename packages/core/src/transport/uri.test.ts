import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationError } from '../error.ts';
import { formatUri, type MigrationAddress, parseUri } from './uri.ts';

const tcp = (host: string, port: number, more: object = {}): MigrationAddress =>
  ({ transport: 'tcp', host, port, ...more }) as MigrationAddress;
const file = (path: string, offset = 0): MigrationAddress => ({ transport: 'file', path, offset });

const GOOD: readonly (readonly [string, MigrationAddress])[] = [
  ['tcp:127.0.0.1:4444', tcp('127.0.0.1', 4444)],
  ['tcp:host.example:0', tcp('host.example', 0)],
  ['tcp::65535', tcp('', 65535)],
  ['tcp:0:4444', tcp('0', 4444)],
  ['tcp:[::1]:4444', tcp('::1', 4444)],
  ['tcp:[fe80::1%lo]:4444', tcp('fe80::1%lo', 4444)],
  ['tcp:[::]:1,to=5', tcp('::', 1, { to: 5 })],
  ['tcp:localhost:1,ipv4', tcp('localhost', 1, { ipv4: true })],
  ['tcp:localhost:1,ipv6=off', tcp('localhost', 1, { ipv6: false })],
  ['tcp:localhost:1,ipv4=on,ipv6=on', tcp('localhost', 1, { ipv4: true, ipv6: true })],
  ['tcp:10.0.0.1:1,numeric', tcp('10.0.0.1', 1)],
  ['tcp:name:1,numeric=off', tcp('name', 1)],
  ['tcp:a:1,keep-alive', tcp('a', 1, { keepAlive: true })],
  ['tcp:a:1,keep-alive=off,to=1', tcp('a', 1, { keepAlive: false, to: 1 })],
  ['unix:/run/vm.sock', { transport: 'unix', path: '/run/vm.sock' }],
  ['unix:a:b,c=d', { transport: 'unix', path: 'a:b,c=d' }],
  [`unix:${'x'.repeat(107)}`, { transport: 'unix', path: 'x'.repeat(107) }],
  ['file:/var/vm', file('/var/vm')],
  ['file:/var/vm,x=1', file('/var/vm,x=1')],
  ['file:vm,offset=4096', file('vm', 4096)],
  ['file:vm,offset=0x1000', file('vm', 4096)],
  ['file:vm,offset=4k', file('vm', 4096)],
  ['file:vm,offset=4K', file('vm', 4096)],
  ['file:vm,offset=1.5M', file('vm', 1572864)],
  ['file:vm,offset=2G', file('vm', 2 ** 31)],
  ['file:vm,offset=1T', file('vm', 2 ** 40)],
  ['file:vm,offset=7b', file('vm', 7)],
  ['exec:cat > "/tmp/a:b,offset=3"', { transport: 'exec', command: 'cat > "/tmp/a:b,offset=3"' }],
  ['fd:0', { transport: 'fd', fd: 0 }],
  ['fd:17', { transport: 'fd', fd: 17 }],
];

test('URIs are parsed, and formatted so that they parse the same', () => {
  for (const [uri, address] of GOOD) {
    assert.deepEqual(parseUri(uri), address, uri);
    assert.deepEqual(parseUri(formatUri(address)), address, uri);
  }
});

const BAD: readonly (readonly [string, 'bad-uri' | 'unsupported', RegExp])[] = [
  ['', 'bad-uri', /unknown scheme.*found ''.*tcp:/],
  ['/tmp/x', 'bad-uri', /unknown scheme.*'\/tmp\/x'/],
  ['http://a/', 'bad-uri', /unknown scheme/],
  ['TCP:a:1', 'bad-uri', /unknown scheme/],
  ['tcp', 'bad-uri', /unknown scheme/],
  ['defer', 'unsupported', /deferred.*'defer'/],
  ['vsock:3:1', 'unsupported', /'vsock:3:1'.*expected tcp:/],
  ['rdma:a:1', 'unsupported', /'rdma:a:1'/],
  ['tcp:', 'bad-uri', /no port.*HOST:PORT/],
  ['tcp:host', 'bad-uri', /no port.*'host'/],
  ['tcp:host:', 'bad-uri', /not a number.*''.*0\.\.65535/],
  ['tcp:host:http', 'bad-uri', /not a number.*'http'/],
  ['tcp:host:-1', 'bad-uri', /not a number.*'-1'/],
  ['tcp:host: 1', 'bad-uri', /not a number/],
  ['tcp:host:65536', 'bad-uri', /out of range.*65536.*0\.\.65535/],
  ['tcp:ho st:1', 'bad-uri', /white space/],
  ['tcp:::1:4444', 'bad-uri', /more than one colon.*brackets/],
  ['tcp:[1.2.3.4]:1', 'bad-uri', /not an IPv6 address.*'1\.2\.3\.4'/],
  ['tcp:[::1:1', 'bad-uri', /brackets/],
  ['tcp:[::1]', 'bad-uri', /no port/],
  [`tcp:${'h'.repeat(65)}:1`, 'bad-uri', /too long.*65.*64/],
  ['tcp:a:1,', 'bad-uri', /unknown option.*''/],
  ['tcp:a:1,foo', 'bad-uri', /unknown option.*'foo'.*keep-alive/],
  ['tcp:a:1,to', 'bad-uri', /last port.*not a number/],
  ['tcp:a:1,to=x', 'bad-uri', /last port.*'x'/],
  ['tcp:a:1,to=65536', 'bad-uri', /last port.*out of range/],
  ['tcp:a:10,to=9', 'bad-uri', /below the first.*to=9.*10/],
  ['tcp:a:1,ipv4=yes', 'bad-uri', /ipv4.*'yes'.*on or off/],
  ['tcp:a:1,ipv4=off,ipv6=off', 'bad-uri', /both off/],
  ['tcp:1.2.3.4:1,ipv6', 'bad-uri', /IPv6 only.*'1\.2\.3\.4'/],
  ['tcp:[::1]:1,ipv6=off', 'bad-uri', /IPv4 only/],
  ['tcp:name:1,numeric', 'bad-uri', /numeric.*'name'/],
  ['tcp:a:1,mptcp', 'unsupported', /multipath/],
  ['unix:', 'bad-uri', /empty/],
  [`unix:${'x'.repeat(108)}`, 'bad-uri', /108 bytes.*fewer than 108/],
  [`unix:${'é'.repeat(54)}`, 'bad-uri', /108 bytes/],
  ['unix:\0abstract', 'bad-uri', /NUL/],
  ['file:', 'bad-uri', /empty/],
  ['file:,offset=1', 'bad-uri', /empty/],
  ['file:a,offset=', 'bad-uri', /not a size/],
  ['file:a,offset=-1', 'bad-uri', /not a size.*'-1'/],
  ['file:a,offset=1x', 'bad-uri', /not a size/],
  ['file:a,offset=0x', 'bad-uri', /not a size/],
  ['file:a,offset=1.5', 'bad-uri', /fraction/],
  ['file:a,offset=9000000G', 'bad-uri', /too large/],
  ['file:a,offset=1,offset=2', 'bad-uri', /not a size/],
  ['exec:', 'bad-uri', /empty/],
  ['fd:', 'bad-uri', /missing/],
  ['fd:migration', 'unsupported', /'migration'.*number/],
  ['fd:3x', 'bad-uri', /'3x'/],
  ['fd:2147483648', 'bad-uri', /'2147483648'/],
];

test('what is no URI is refused with what was found and expected', () => {
  for (const [uri, code, message] of BAD) {
    assert.throws(
      () => parseUri(uri),
      (error: unknown) => {
        assert.ok(error instanceof MigrationError, uri);
        assert.equal(error.code, code, `${uri}: ${error.message}`);
        assert.match(error.message, message, uri);
        return true;
      },
      uri,
    );
  }
});
