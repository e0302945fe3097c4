// Stands in for Rip's own loader, which compiles the language: Bun learns to load files that end in .rip, as TypeScript.

import { plugin } from 'bun';

plugin({
  name: 'rip',
  setup(build) {
    build.onLoad({ filter: /\.rip$/ }, async ({ path }) => ({ contents: await Bun.file(path).text(), loader: 'ts' }));
  },
});
