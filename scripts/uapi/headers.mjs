/** Finds kernel headers to compare with: Debian's newest, a kernel tree, a directory, or the system's own. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const TRIPLETS = { x86: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };
const ARCHES = ['x86', 'arm64'];
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

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

/** A private apt, so that the system's sources stay as they are. */
function privateApt(work) {
  const at = (...parts) => join(work, 'apt', ...parts);
  for (const dir of ['etc/parts', 'etc/preferences', 'state/lists/partial', 'cache/archives/partial']) {
    mkdirSync(at(dir), { recursive: true });
  }
  writeFileSync(at('state/status'), '');
  const options = {
    'Dir::Etc::sourcelist': at('etc/sources.list'),
    'Dir::Etc::sourceparts': at('etc/parts'),
    'Dir::Etc::preferences': at('etc/none'),
    'Dir::Etc::preferencesparts': at('etc/preferences'),
    'Dir::State': at('state'),
    'Dir::State::status': at('state/status'),
    'Dir::Cache': at('cache'),
    'Debug::NoLocking': 'true',
    'APT::Sandbox::User': '',
    'Acquire::Languages': 'none',
  };
  const args = Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  return { at, run: (command, ...rest) => run(command, [...args, ...rest], { cwd: work }) };
}

/** The newest linux-libc-dev of Debian's suites, downloaded and unpacked in `work`, not installed. */
export function fromDebian(work, { mirror, suites }) {
  if (!existsSync(KEYRING)) throw new Error(`${KEYRING} is missing (package debian-archive-keyring)`);
  const apt = privateApt(work);
  let complaint = '';
  const fetchLists = (names) => {
    const line = (suite) => `deb [signed-by=${KEYRING}] ${mirror} ${suite} main\n`;
    writeFileSync(apt.at('etc/sources.list'), names.map(line).join(''));
    // A suite that a mirror lacks is no reason to give up: what matters is whether any list came.
    try {
      apt.run('apt-get', '-q', '-o', 'APT::Update::Error-Mode=any', 'update');
    } catch (error) {
      complaint = error.message.split('\n').find((line) => /^(E|W|Err):/.test(line)) ?? error.message;
    }
  };
  fetchLists(suites);
  // A suite that follows releases (stable-backports) may lag on a mirror behind the one of the release's own name.
  const lists = apt.at('state/lists');
  const codenames = new Set();
  for (const file of readdirSync(lists).filter((name) => name.endsWith('Release'))) {
    const codename = /^Codename: (\S+)$/m.exec(readFileSync(join(lists, file), 'utf8'))?.[1];
    if (codename !== undefined && !suites.includes(codename)) codenames.add(codename);
  }
  if (codenames.size > 0) fetchLists([...suites, ...codenames]);

  const versions = apt
    .run('apt-cache', 'madison', 'linux-libc-dev')
    .split('\n')
    .map((line) => line.split('|')[1]?.trim())
    .filter(Boolean);
  const later = (a, b) => spawnSync('dpkg', ['--compare-versions', a, 'gt', b]).status === 0;
  const newest = versions.reduce(
    (best, version) => (best === undefined || later(version, best) ? version : best),
    undefined,
  );
  if (newest === undefined) throw new Error(`no linux-libc-dev in ${suites.join(', ')} of ${mirror} (${complaint})`);
  apt.run('apt-get', '-q', 'download', `linux-libc-dev=${newest}`);
  const archive = readdirSync(work).find((name) => name.startsWith('linux-libc-dev_') && name.endsWith('.deb'));
  const root = join(work, 'debian');
  run('dpkg-deb', ['-x', join(work, archive), root]);
  const directory = join(root, 'usr/include');
  return {
    origin: `linux-libc-dev ${newest} of Debian`,
    version: versionOf(directory),
    arches: archesOf(directory, [join(root, 'usr/lib/linux/uapi')]),
    newest: true,
  };
}
