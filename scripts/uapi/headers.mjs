/** Finds kernel headers to compare with: Debian's newest, a kernel tree, a directory, or the system's own. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const TRIPLETS = { x86: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };
const ARCHES = ['x86', 'arm64'];

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, ...options });
  if (result.error) throw new Error(`${command}: ${result.error.message}`);
  if (result.status !== 0) throw new Error(`${command} failed: ${(result.stderr || result.stdout).trim()}`);
  return result.stdout;
}

/** `7.3.4`, from linux/version.h. */
function versionOf(directory) {
  const file = join(directory, 'linux/version.h');
  if (!existsSync(file)) return 'of unknown version';
  const code = Number(/LINUX_VERSION_CODE (\d+)/.exec(readFileSync(file, 'utf8'))?.[1] ?? 0);
  return `${code >> 16}.${(code >> 8) & 0xff}.${code & 0xff}`;
}

/** Which architectures a directory of installed headers serves, and with which directories. */
function archesOf(directory, extra = []) {
  const found = {};
  for (const arch of ARCHES) {
    const candidates = [join(directory, TRIPLETS[arch]), ...extra.map((dir) => join(dir, arch))];
    const asm = candidates.find((dir) => existsSync(join(dir, 'asm/kvm.h')));
    if (asm !== undefined) found[arch] = { include: [directory, asm], defines: [] };
  }
  const own = join(directory, 'asm/kvm.h');
  if (Object.keys(found).length === 0 && existsSync(own)) {
    const arch = /__ARM_KVM_H__/.test(readFileSync(own, 'utf8')) ? 'arm64' : 'x86';
    found[arch] = { include: [directory], defines: [] };
  }
  return found;
}

/** A directory that contains linux/kvm.h, with asm/ or TRIPLET/asm/ in it. */
export function fromInclude(path) {
  const directory = resolve(path);
  if (!existsSync(join(directory, 'linux/kvm.h'))) throw new Error(`${directory} has no linux/kvm.h`);
  const arches = archesOf(directory);
  if (Object.keys(arches).length === 0) throw new Error(`${directory} has no asm/kvm.h of x86 or arm64`);
  return { origin: directory, version: versionOf(directory), arches, newest: false };
}

export function fromSystem() {
  const system = fromInclude('/usr/include');
  const cross = '/usr/aarch64-linux-gnu/include';
  if (system.arches.arm64 === undefined && existsSync(join(cross, 'asm/kvm.h'))) {
    system.arches.arm64 = { include: [cross], defines: [] };
  }
  return { ...system, origin: "the system's own headers" };
}

/**
 * The headers of a tree without `make`, for trees that were built in place (kbuild refuses to install from those into another
 * directory): the user headers as they lie there, empty stand-ins for the kernel's own, and wrappers as kbuild would generate.
 */
function bareTree(tree, arch, work) {
  const stubs = join(work, `stubs-${arch}`);
  const generic = join(tree, 'include/uapi/asm-generic');
  const own = join(tree, `arch/${arch}/include/uapi`);
  mkdirSync(join(stubs, 'asm'), { recursive: true });
  mkdirSync(join(stubs, 'linux'), { recursive: true });
  for (const name of readdirSync(generic)) {
    if (!existsSync(join(own, 'asm', name)))
      writeFileSync(join(stubs, 'asm', name), `#include <asm-generic/${name}>\n`);
  }
  for (const name of ['compiler.h', 'compiler_types.h', 'version.h']) writeFileSync(join(stubs, 'linux', name), '');
  for (const name of ['unistd_64.h', 'unistd_32.h', 'unistd_x32.h']) {
    const built = join(tree, `arch/${arch}/include/generated/uapi/asm`, name);
    if (existsSync(built)) cpSync(built, join(stubs, 'asm', name));
    else writeFileSync(join(stubs, 'asm', name), '');
  }
  return {
    include: [own, join(tree, 'include/uapi'), stubs],
    defines: ['__EXPORTED_HEADERS__', '__user', '__force', '__attribute_const__', '__packed __attribute__((packed))'],
  };
}

function treeVersion(tree) {
  const makefile = readFileSync(join(tree, 'Makefile'), 'utf8');
  const part = (name) => new RegExp(`^${name} =[ \\t]*(\\S*)`, 'm').exec(makefile)?.[1] ?? '';
  return `${part('VERSION')}.${part('PATCHLEVEL')}.${part('SUBLEVEL')}${part('EXTRAVERSION')}`;
}

/** A kernel source tree, or a directory of headers. The tree is not written to. */
export function fromTree(path, work, log) {
  const tree = resolve(path);
  if (!existsSync(join(tree, 'include/uapi/linux/kvm.h')))
    return fromInclude(existsSync(join(tree, 'include/linux/kvm.h')) ? join(tree, 'include') : tree);
  const arches = {};
  for (const arch of ARCHES) {
    // The target `headers` is headers_install without the copy at its end, which needs rsync.
    const out = join(work, `build-${arch}`);
    mkdirSync(out, { recursive: true });
    try {
      run('make', ['-s', '-C', tree, `O=${out}`, `ARCH=${arch}`, 'headers']);
      arches[arch] = { include: [join(out, 'usr/include')], defines: [] };
    } catch (error) {
      const reason = error.message.split('\n').find((line) => /\*\*\*|not found/.test(line)) ?? error.message;
      log(`${arch}: make headers did not work (${reason.trim()}); reading the tree's headers in place`);
      arches[arch] = bareTree(tree, arch, work);
    }
  }
  return { origin: tree, version: treeVersion(tree), arches, newest: false };
}

/** The newest linux-libc-dev of Debian's suites, downloaded and unpacked in `work`, not installed. `dist` is the compiled package. */
export async function fromDebian(work, { mirror, suites, dist }) {
  const { openDebian } = await import(pathToFileURL(resolve(dist, 'testvm/build/debian.js')).href);
  const archive = await openDebian({ work, mirror, suites });
  const [newest] = await archive.versions('linux-libc-dev');
  if (newest === undefined) {
    throw new Error(`no linux-libc-dev in ${suites.join(', ')} of ${mirror} (${archive.complaint})`);
  }
  const root = join(work, 'debian');
  run('dpkg-deb', ['-x', await archive.download(newest), root]);
  const directory = join(root, 'usr/include');
  return {
    origin: `linux-libc-dev ${newest.version} of Debian`,
    version: versionOf(directory),
    arches: archesOf(directory, [join(root, 'usr/lib/linux/uapi')]),
    newest: true,
  };
}
