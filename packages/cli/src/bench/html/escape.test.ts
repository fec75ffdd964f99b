import assert from 'node:assert/strict';
import test from 'node:test';
import { html } from './escape.ts';

test('templates escape text and leave markup and figures alone', () => {
  const name = `"><b>'&`;
  const inner = html`<i>${name}</i>`;
  assert.equal(
    html`<p title="${name}">${inner}${[inner]}${1.23456}${undefined}</p>`.text,
    '<p title="&quot;&gt;&lt;b&gt;&#39;&amp;"><i>&quot;&gt;&lt;b&gt;&#39;&amp;</i><i>&quot;&gt;&lt;b&gt;&#39;&amp;</i>1.23</p>',
  );
});

test('what HTML forbids, and what disguises a name, is replaced', () => {
  assert.equal(
    html`${'a\u0000b\u001bc\u202ed\u2066e\ud800f\uffff'}`.text,
    'a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf\ufffd',
  );
});

test('a number that is none does not get through', () => {
  assert.throws(() => html`<rect x="${Number.NaN}"/>`, RangeError);
  assert.throws(() => html`${Number.POSITIVE_INFINITY}`, RangeError);
});
