#!/bin/sh
# Runs the tests of the addon with AddressSanitizer and UndefinedBehaviorSanitizer in it:
#   scripts/asan.sh [vitest arguments]        default: whatever can load the addon
# The instrumented addon is built in build-asan/ from copies, so build/ stays as it is. node itself is not instrumented, so the
# runtime is preloaded. Child processes inherit all that; every report of any process goes to a file, and one file is a failure.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
dir=$root/build-asan
reports=$dir/reports

rm -rf "$dir/native" "$reports"
mkdir -p "$dir" "$reports"
cp -R "$root/native" "$root/binding.gyp" "$root/package.json" "$dir/"
ln -sfn "$root/node_modules" "$dir/node_modules"

# Through npm, so that its configuration (nodedir, proxies) holds for node-gyp as in a usual build.
# As an option of node-gyp: -Dasan=1 loses against the variable of that name that node was built with.
# libubsan goes into the addon, hidden: as a library it shares the name of the report file with libasan, and one of them loses it.
# The fault-safe copies take address 0 as any other, so null pointers to memcpy are not reported.
(cd "$root" && CXXFLAGS=-fno-sanitize=nonnull-attribute LDFLAGS='-static-libubsan -Wl,--exclude-libs,ALL' npm exec -- node-gyp rebuild -C "$dir" --asan=1)
addon=$dir/build/Release/privmem.node
for runtime in __asan_init UBSAN_OPTIONS; do
  if ! grep -q "$runtime" "$addon"; then
    echo "asan.sh: the addon was built without the sanitizers ($runtime)" >&2
    exit 1
  fi
done

compiler=${CXX:-g++}
libasan=$("$compiler" -print-file-name=libasan.so)
# The runtime of C++ must be there when libasan looks for the functions that it wraps.
libstdcxx=$("$compiler" -print-file-name=libstdc++.so)
if [ ! -e "$libasan" ]; then
  echo "asan.sh: $compiler has no sanitizer runtime ($libasan)" >&2
  exit 1
fi

# Leaks are not looked for: node keeps much until it exits. A death by signal must stay one, for the tests that want it; the
# addon's own handlers for SIGSEGV and SIGBUS go before those of the sanitizer. The fault-safe copies go to wild addresses on
# purpose, so the C library's memory functions are not wrapped; accesses of the addon's own code are checked.
asan=detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_abort=0:allocator_may_return_null=1
export ASAN_OPTIONS="$asan:replace_intrin=0:intercept_memcmp=0:log_path=$reports/asan"
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:log_path=$reports/ubsan"
export PRIVMEM_ADDON="$addon"
export PRIVMEM_SANITIZED=1

# Without what boots virtual machines, packs the package, or runs for minutes without the addon; and without the comparisons of files and
# memory, which need addresses that the sanitizer takes for itself and report where it looked in its shadow.
[ $# -gt 0 ] || set -- --exclude 'test/{testvm,testing,package,examples,report,compare,arm64,conformance}/**' --exclude 'test/unit/{sim,guest}/**' \
  --exclude 'test/differential/{f,known,script}*' --exclude 'test/lifecycle/{test-kernel,walks}*' --exclude 'test/machine/{boot,memory}/**'
status=0
# Not for the shell and npm: only node loads the addon.
(cd "$root" && LD_PRELOAD="$libasan $libstdcxx" node node_modules/vitest/vitest.mjs run "$@") || status=$?

# What the runtime says of itself, of fibres and of stacks that it cannot place, is no report.
found=$(find "$reports" -type f -exec grep -lvE '==WARNING: ASan |^False positive error reports may follow|^For details see ' {} +) || true
if [ -n "$found" ]; then
  echo "asan.sh: the sanitizers reported:" >&2
  for file in $found; do
    echo "== $file" >&2
    head -n 60 "$file" >&2
  done
  exit 1
fi
[ "$status" -eq 0 ] || exit "$status"
echo "asan.sh: no reports"
