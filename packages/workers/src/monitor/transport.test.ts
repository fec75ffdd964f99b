import assert from 'node:assert/strict';
import test from 'node:test';
import type { QmpMigrationAddress } from '@pageferry/core/qmp';
import { formatUri } from '@pageferry/core/transport';
import { addressOf, checkTransport, socketAddressInfo } from './transport.ts';

function uriOf(addr: QmpMigrationAddress): string {
  return formatUri(addressOf({ channels: [{ 'channel-type': 'main', addr }] }));
}

test('the channels form says the same as a URI', () => {
  const inet = { transport: 'socket', type: 'inet', host: '127.0.0.1', port: '4444' } as const;
  assert.equal(uriOf(inet), 'tcp:127.0.0.1:4444');
  assert.equal(
    uriOf({ ...inet, host: '::1', to: 4500, ipv6: true, 'keep-alive': false }),
    'tcp:[::1]:4444,to=4500,ipv6=on,keep-alive=off',
  );
  assert.equal(uriOf({ transport: 'socket', type: 'unix', path: '/a b' }), 'unix:/a b');
  assert.equal(uriOf({ transport: 'socket', type: 'fd', str: '7' }), 'fd:7');
  assert.equal(uriOf({ transport: 'file', filename: '/x', offset: 0 }), 'file:/x');
  assert.equal(uriOf({ transport: 'file', filename: '/x', offset: 4096 }), 'file:/x,offset=4096');
  assert.equal(
    uriOf({ transport: 'exec', args: ['/bin/sh', '-c', 'cat > "$HOME/x"'] }),
    'exec:cat > "$HOME/x"',
  );
  assert.equal(uriOf({ transport: 'exec', args: ['nc', "it's", '$x'] }), "exec:exec 'nc' 'it'\\''s' '$x'");
});

test('what is no destination', () => {
  const main = { 'channel-type': 'main', addr: { transport: 'file', filename: 'x', offset: 0 } } as const;
  const cases: [Parameters<typeof addressOf>[0], RegExp][] = [
    [{}, /neither uri nor channels/],
    [{ uri: 'tcp:a:1', channels: [main] }, /not both/],
    [{ channels: [] }, /no entry for main/],
    [{ channels: [main, main] }, /several entries/],
    [{ channels: [{ ...main, 'channel-type': 'cpr' }] }, /cpr is not supported/],
    [{ uri: 'rdma:a:1' }, /rdma/],
  ];
  for (const [destination, message] of cases) assert.throws(() => addressOf(destination), message);
  const refused: [QmpMigrationAddress, RegExp][] = [
    [{ transport: 'rdma', host: 'a', port: '1' }, /rdma/],
    [{ transport: 'socket', type: 'vsock', cid: '3', port: '1' }, /vsock/],
    [{ transport: 'socket', type: 'unix', path: 'x', abstract: true }, /abstract/],
    [{ transport: 'socket', type: 'inet', host: 'a', port: '1', mptcp: true }, /multipath/],
    [{ transport: 'socket', type: 'inet', host: 'a', port: 'http' }, /not a number/],
    [{ transport: 'socket', type: 'inet', host: 'a,ipv4=off', port: '1' }, /tcp/],
    [{ transport: 'exec', args: [] }, /no command/],
  ];
  for (const [addr, message] of refused) assert.throws(() => uriOf(addr), message);
});

test('what capabilities need of a transport', () => {
  const check = (uri: string, ...on: string[]) =>
    checkTransport(addressOf({ uri }), (name) => on.includes(name));
  check('tcp:a:1', 'multifd');
  check('unix:/a', 'multifd');
  check('file:/a', 'mapped-ram', 'multifd');
  check('exec:cat');
  assert.throws(() => check('exec:cat', 'multifd'), /several connections/);
  assert.throws(() => check('file:/a', 'multifd'), /several connections/);
  assert.throws(() => check('tcp:a:1', 'mapped-ram'), /needs a file/);
});

test('where a destination listens', () => {
  assert.deepEqual(socketAddressInfo('tcp:0.0.0.0:4444'), {
    type: 'inet',
    host: '0.0.0.0',
    port: '4444',
    ipv4: true,
  });
  assert.deepEqual(socketAddressInfo('tcp:[::]:1'), { type: 'inet', host: '::', port: '1', ipv6: true });
  assert.deepEqual(socketAddressInfo('unix:/a'), { type: 'unix', path: '/a' });
  assert.equal(socketAddressInfo('exec:cat'), undefined);
});
