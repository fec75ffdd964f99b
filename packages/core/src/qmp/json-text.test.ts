import assert from 'node:assert/strict';
import test from 'node:test';
import { formatJson, parseJson } from './json-text.ts';

test('reads single quotes as QEMU does', () => {
  assert.deepEqual(parseJson(`{'execute': 'a"b\\'c', "x": "it's", 'y': ['\\n']}`), {
    execute: `a"b'c`,
    x: "it's",
    y: ['\n'],
  });
});

test('integers of 64 bits are exact both ways', () => {
  const text = '{"a": [18446744073709551615, -9223372036854775808, 9007199254740991, 0.5, 1e3]}';
  const value = parseJson(text);
  assert.deepEqual(value, { a: [18446744073709551615n, -9223372036854775808n, 9007199254740991, 0.5, 1000] });
  assert.equal(formatJson(value), text.replace('1e3', '1000'));
});

test('what is no JSON is refused', () => {
  for (const text of ['{"a":}', '{a:1}', '[1,]', 'foo', '1e400', `{'a': 1]`, '']) {
    assert.throws(() => parseJson(text), SyntaxError, text);
  }
});

test('writes ASCII with spaces, as QEMU does', () => {
  assert.equal(
    formatJson({ a: [], b: {}, c: [1, { d: '\né😀\u007f' }], e: null }),
    '{"a": [], "b": {}, "c": [1, {"d": "\\n\\u00E9\\uD83D\\uDE00\\u007F"}], "e": null}',
  );
});
