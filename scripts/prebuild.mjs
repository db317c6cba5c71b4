// Builds the addons that go into the npm package:
//   npm run prebuilds -- [x64] [arm64] [--out DIR]
// Default: this host's architecture, into prebuilds/ of the repository. Another one needs its cross compiler. The build runs
// in a temporary copy, so build/ stays as it is. Run it through npm, so that npm's configuration holds for node-gyp.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import prebuildify from 'prebuildify';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

const TARGETS = {
  x64: { machine: 62, triplet: 'x86_64-linux-gnu', debian: 'g++-x86-64-linux-gnu' },
  arm64: { machine: 183, triplet: 'aarch64-linux-gnu', debian: 'g++-aarch64-linux-gnu' },
};

// The oldest systems that the binaries must load on: glibc 2.34 is that of Ubuntu 22.04, Debian 12 and RHEL 9. Building with an
// older C library lowers what is needed. libstdc++ is linked in, because RHEL 9 has an older one than compilers want today.
const CEILING = { GLIBC: [2, 34] };
// Not -static-libgcc: its unwinder wants glibc 2.35, and node needs libgcc_s.so.1 anyway.
const LDFLAGS = '-static-libstdc++ -Wl,--exclude-libs,ALL -Wl,--gc-sections';

function fail(message) {
  console.error(`prebuild: ${message}`);
  process.exit(1);
}

/** Environment for the compiler of an architecture. */
function toolsFor(arch) {
  const { triplet, debian } = TARGETS[arch];
  if (arch === process.arch) return { LDFLAGS, strip: process.env.STRIP ?? 'strip' };
  const tools = {
    CC: process.env.CC ?? `${triplet}-gcc`,
    CXX: process.env.CXX ?? `${triplet}-g++`,
    AR: process.env.AR ?? `${triplet}-ar`,
    strip: process.env.STRIP ?? `${triplet}-strip`,
  };
  for (const tool of Object.values(tools)) {
    if (spawnSync(tool, ['--version'], { stdio: 'ignore' }).status !== 0) {
      fail(`${tool} does not run; a cross compiler for ${arch} is in the Debian package ${debian}`);
    }
  }
  return { ...tools, LDFLAGS };
}

async function build(arch, out) {
  const { strip, ...env } = toolsFor(arch);
  const folder = mkdtempSync(path.join(os.tmpdir(), `privmem-prebuild-${arch}-`));
  try {
    for (const name of ['native', 'binding.gyp', 'package.json']) {
      cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
    }
    symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
    const before = { ...process.env };
    Object.assign(process.env, env);
    await promisify(prebuildify)({
      cwd: folder,
      out,
      arch,
      platform: 'linux',
      // The headers of this version; the result loads in every later one.
      targets: [process.versions.node],
      napi: true,
      strip: true,
      stripBin: strip,
      tagLibc: true,
      ...(arch === process.arch ? {} : { libc: 'glibc' }),
    });
    for (const name of Object.keys(env)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const newer = (one, other) => one[0] - other[0] || one[1] - other[1] || (one[2] ?? 0) - (other[2] ?? 0);

/** The highest version of a family of symbols that the binary asks for. Their names stand in its string table as they are. */
function highest(image, family) {
  const found = [...image.toString('latin1').matchAll(new RegExp(`\\0${family}_(\\d+(?:\\.\\d+)+)(?=\\0)`, 'g'))];
  return found
    .map(([, version]) => version.split('.').map(Number))
    .sort(newer)
    .at(-1);
}

function check(arch, file) {
  const image = readFileSync(file);
  if (image.toString('latin1', 0, 4) !== '\x7fELF') fail(`${file} is no ELF file`);
  const machine = image.readUInt16LE(18);
  if (machine !== TARGETS[arch].machine) fail(`${file} is for machine ${machine}, not ${arch}`);
  const wanted = [];
  for (const family of ['GLIBC', 'GLIBCXX', 'CXXABI']) {
    const version = highest(image, family);
    if (version === undefined) continue;
    const ceiling = CEILING[family];
    wanted.push(`${family}_${version.join('.')}`);
    if (ceiling === undefined) fail(`${file} wants ${wanted.at(-1)}, but libstdc++ should be linked in`);
    if (newer(version, ceiling) > 0) fail(`${file} wants ${wanted.at(-1)}, above ${family}_${ceiling.join('.')}`);
  }
  console.log(`prebuild: ${file}: ${image.length} bytes, ${wanted.join(', ') || 'no versioned symbols'}`);
}

if (process.platform !== 'linux') fail('the addon is for Linux, and so is this script');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { out: { type: 'string', default: root } },
});
const archs = positionals.length > 0 ? positionals : [process.arch];
for (const arch of archs) if (!Object.hasOwn(TARGETS, arch)) fail(`no such architecture: ${arch} (x64, arm64)`);

for (const arch of archs) {
  const out = path.resolve(values.out);
  await build(arch, out).catch((error) => fail(`${arch}: ${error.message}`));
  const folder = path.join(out, 'prebuilds', `linux-${arch}`);
  const files = readdirSync(folder).filter((name) => name.endsWith('.node'));
  if (files.length === 0) fail(`nothing in ${folder}`);
  for (const name of files) check(arch, path.join(folder, name));
}
