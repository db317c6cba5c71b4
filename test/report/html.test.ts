import fc from 'fast-check';
import { expect, test } from 'vitest';
import { escapeHtml, html } from '../../lib/report/html.ts';
import { HOSTILE } from '../support/steps.ts';

const seed = process.env.PRIVMEM_SEED === undefined ? {} : { seed: Number(process.env.PRIVMEM_SEED) };

test('no text can open or close a tag, an attribute or an entity', () => {
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(...HOSTILE));
  fc.assert(
    fc.property(text, (value) => {
      const escaped = escapeHtml(value);
      expect(escaped).not.toMatch(/[<>"']/);
      expect(escaped).not.toMatch(/&(?!(amp|lt|gt|quot|#39);)/);
      expect(escaped).not.toMatch(/(?![\t\n\r])[\p{Cc}\p{Cf}\p{Cs}]/u);
    }),
    seed,
  );
});

test('templates escape what they are given, keep markup, join lists and drop nothings', () => {
  const item = (text: string) => html`<li title="${text}">${text}</li>`;
  expect(html`<ul>${['<', '&'].map(item)}${undefined}${false}${0}</ul>`.text).toBe(
    '<ul><li title="&lt;">&lt;</li><li title="&amp;">&amp;</li>0</ul>',
  );
});

test('what cannot be seen is shown by its number', () => {
  expect(escapeHtml('a\u202eb\u0000c\ud800d\te')).toBe('a\\u{202e}b\\u{0}c\\u{d800}d\te');
});
