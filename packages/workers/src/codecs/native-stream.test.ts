import assert from 'node:assert/strict';
import test from 'node:test';
import { constants, deflateSync, inflateSync } from 'node:zlib';
import { NativeStream } from './native-stream.ts';

const WHOLE = { flush: constants.Z_FINISH, maxOutputLength: 5000 };
const pages = [1, 2, 3].map((value) => Buffer.alloc(4096, `page ${value}, and not much more `));

for (const direct of [true, false]) {
  const way = direct ? "the context's own calls" : 'minizlib';
  test(`whole streams, one after the other, through ${way}`, () => {
    const deflate = new NativeStream('deflate', { ...WHOLE, level: 1 }, direct);
    const inflate = new NativeStream('inflate', WHOLE, direct);
    const output = Buffer.alloc(5000);
    for (const page of pages) {
      deflate.step(page, 0, output, 0);
      const { consumed, produced } = deflate;
      assert.equal(consumed, page.length);
      assert.ok(inflateSync(output.subarray(0, produced)).equals(page));
      deflate.reset();

      const stream = Buffer.concat([Buffer.of(1, 2, 3), deflateSync(page), Buffer.of(4, 5)]);
      inflate.step(stream, 3, output, 0, stream.length - 2);
      assert.equal(inflate.consumed, stream.length - 5);
      assert.ok(output.subarray(0, inflate.produced).equals(page));
      inflate.reset();
    }
    const cut = deflateSync(pages[0]!).subarray(0, -1);
    assert.throws(() => inflate.step(cut, 0, output, 0));
    for (const stream of [deflate, inflate]) stream.close();
  });
}
