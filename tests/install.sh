#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# make install: what is installed works after it was moved elsewhere, by pkg-config, shared and static, in C, C++ and Fortran, from Python and Lua, exports
# nothing but iog_*, and has its documentation; make uninstall leaves no file.
# slow: what is installed does not depend on a sanitizer
dest=$TMPDIR/dest
n=0
point() { # description command...
	local what=$1
	shift
	n=$((n + 1))
	if "$@" >"$TMPDIR/log" 2>&1; then echo "ok $n - $what"; else sed 's/^/# /' "$TMPDIR/log"; echo "not ok $n - $what"; fi
}
flags=$(cat "$IOG_BUILD/flags")
read -ra cc <<<"${flags%% -*}" # words: "ccache gcc"
# -o all: install what was built, with whatever flags that was.
in_dest() { make --no-print-directory BUILD="$IOG_BUILD" DESTDIR="$dest" PREFIX=/opt/iog -o all "$1"; }
moved() { mv "$dest/opt/iog" "$TMPDIR/moved" && PC=$TMPDIR/moved/lib/pkgconfig; }
pc() { PKG_CONFIG_PATH=$PC pkg-config "$@" iograph; }

cat >"$TMPDIR/program.c" <<'E2'
#include <stdio.h>
#include <core/iog_op.h>
int main(void)
{
	struct iog_schema s;
	struct iog_err err = { "" };
	if (iog_schema_parse(&s, "T: f32[x=4] K", &err))
		return 1;
	for (unsigned i = 0; iog_ops[i]; i++)
		puts(iog_ops[i]->name);
	return s.n_vars != 1;
}
E2
# What an application writes; the same as C and as C++. Without an agent it runs as if nothing was there.
cat >"$TMPDIR/app.c" <<'E2'
#include <iograph.h>
#include <stdio.h>
int main(void)
{
	iog *io = iog_attach("/no/such/agent");
	iog_stream *s = iog_open(io, "heat", "T: f64[x] K", NULL, 0, 1);
	iog_view view = iog_view();
	iog_stats stats;
	if (iog_begin(s, 0, 0.0) >= IOG_OK || iog_stream_stats(s, &stats) == IOG_OK || view.rank)
		return 1;
	puts(iog_error(io));
	iog_close(s, 1);
	return iog_detach(io) >= 0;
}
E2
sed 's/ = iog_view()/ = { 0 }/' "$TMPDIR/app.c" >"$TMPDIR/app-c.c"
mv "$TMPDIR/app.c" "$TMPDIR/app.cc"
app() { # source compiler...
	local source=$1
	shift
	# shellcheck disable=SC2046
	"$@" -Wall -Wextra -Werror -pedantic -o "$TMPDIR/app" "$source" $(pc --cflags --libs) && LD_LIBRARY_PATH=$TMPDIR/moved/lib "$TMPDIR/app" | grep -q 'no agent answers at /no/such/agent'
}
# The flags of pkg-config are words.
shared() {
	# shellcheck disable=SC2046
	"${cc[@]}" -o "$TMPDIR/shared" "$TMPDIR/program.c" $(pc --cflags --libs) && LD_LIBRARY_PATH=$TMPDIR/moved/lib "$TMPDIR/shared" >"$TMPDIR/ops" &&
		grep -qx crop "$TMPDIR/ops" && readelf -d "$TMPDIR/shared" | grep -q 'NEEDED.*libiograph\.so\.0'
}
static() {
	rm -f "$TMPDIR/moved/lib/"libiograph.so*
	# shellcheck disable=SC2046
	"${cc[@]}" -o "$TMPDIR/static" "$TMPDIR/program.c" $(pc --static --cflags --libs) && "$TMPDIR/static" | cmp - "$TMPDIR/ops"
}
# Every installed header by itself, and a program that links; g++ is there where gcc builds, mostly.
cxx=$(command -v g++ || command -v clang++)
in_cxx() {
	local h
	for h in $(cd "$TMPDIR/moved/include/iograph" && find . -name '*.h'); do
		echo "#include <${h#./}>" >"$TMPDIR/one.cc"
		# shellcheck disable=SC2046
		"$cxx" -std=c++17 -Wall -Wextra -Werror -fsyntax-only $(pc --cflags) "$TMPDIR/one.cc" || return 1
	done
	# shellcheck disable=SC2046
	"$cxx" -std=c++17 -x c++ -o "$TMPDIR/cxx" "$TMPDIR/program.c" $(pc --cflags --libs) && LD_LIBRARY_PATH=$TMPDIR/moved/lib "$TMPDIR/cxx" | cmp - "$TMPDIR/ops"
}
cat >"$TMPDIR/app.f90" <<'E2'
program app
  use iograph
  type(iog_stream) :: s
  s = iog_open('/no/such/agent', 'heat', 'T: f64[x] K')
  call iog_block(s, 'T', global=[3])
  if (iog_begin(s, 0, 0d0) >= IOG_OK) error stop
  if (iog_close(s, 1d0) < 0) print '(a)', iog_error(s)
end program
E2
none='no agent answers at /no/such/agent'
in_fortran() {
	# shellcheck disable=SC2046
	gfortran -o "$TMPDIR/f" "$TMPDIR/app.f90" $(PKG_CONFIG_PATH=$PC pkg-config --cflags --libs iograph-fortran) &&
		LD_LIBRARY_PATH=$TMPDIR/moved/lib "$TMPDIR/f" | grep -q "$none"
}
in_python() {
	local site=("$TMPDIR"/moved/lib/python3.*/*-packages)
	PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=${site[0]} "$PYTHON" -c '
import iograph, os
assert iograph.__file__.startswith(os.environ["TMPDIR"]) and all(os.path.exists(os.path.join(os.path.dirname(iograph.__file__), f)) for f in ("py.typed", "__init__.pyi"))
try:
    iograph.attach("/no/such/agent")
except iograph.Error as e:
    print(e)' | grep -q "$none"
}
in_lua() { LUA_CPATH=$TMPDIR/moved/lib/lua/5.4/?.so lua5.4 -e 'print(select(2, require "iograph".attach "/no/such/agent"))' | grep -q "$none"; }
other() { # language program file-it-needs function
	if ! command -v "$2" >/dev/null; then n=$((n + 1)) && echo "ok $n - from $1 # SKIP $2 is not installed"
	elif ! [ -e "$IOG_BUILD/$3" ]; then n=$((n + 1)) && echo "ok $n - from $1 # SKIP that part was not built"
	else point "from $1" "$4"; fi
}
documents() {
	local d=$TMPDIR/moved/share/doc/iographs f
	for f in docs/*.md docs/images/* operators/*/*.md README.md CHANGELOG.md LICENSE; do cmp "$f" "$d/$f" || return 1; done
	# What one page says about another is there too.
	"$PYTHON" - "$d" <<-'END'
		import os, re, sys
		bad = 0
		for at, _, files in os.walk(sys.argv[1]):
		    for f in files:
		        if not f.endswith(".md"):
		            continue
		        # Pages about the source name files of it that are not installed.
		        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", open(os.path.join(at, f)).read()):
		            if re.match(r"(\.\./)*(tests|build-aux|bench|core|man)/", link):
		                continue
		            if not os.path.exists(os.path.join(at, link)):
		                print(os.path.join(at, f), "points to", link)
		                bad = 1
		sys.exit(bad)
	END
}
exports() {
	local others
	others=$(nm -D --defined-only "$TMPDIR/moved/lib/libiograph.so" | awk '$3 !~ /^(iog_|luaopen_iog)/ { print $3 }')
	[ -z "$others" ] || { echo "$others"; false; }
}
elsewhere() { ! grep -rIl -e /opt/iog -e "$dest" -e "$IOG_BUILD" "$TMPDIR/moved/lib/pkgconfig" "$TMPDIR/moved/include"; }
version() { [ "$(pc --modversion)" = "$("$TMPDIR/moved/bin/iog" version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)" ]; }
nothing_left() { in_dest install && in_dest uninstall && [ -z "$(find "$dest" ! -type d)" ]; }

point "installs" in_dest install
point "can be moved" moved
point "nothing names where it was built or installed" elsewhere
point "exports iog_* only" exports
point "a program finds the shared library by pkg-config" shared
point "an application in C finds iograph.h" app "$TMPDIR/app-c.c" "${cc[@]}"
if [ "$cxx" ]; then
	point "an application in C++ does" app "$TMPDIR/app.cc" "$cxx"
	point "every header and a program are C++ as well" in_cxx
else
	n=$((n + 1))
	echo "ok $n - applications, every header and a program are C++ as well # SKIP no g++"
fi
other Fortran gfortran libiograph_fortran.a in_fortran
other Python "$PYTHON" python/iograph/_iograph.abi3.so in_python
other Lua lua5.4 lua/iograph.so in_lua
point "documentation" documents
point "a program links the static library" static
if [ -x "$IOG" ]; then point "iog and pkg-config agree about the version" version; fi
captures() { # with the libraries that were installed
	"$TMPDIR/moved/bin/iog" capture --as lammps -- sh -c 'echo "$LD_PRELOAD"' 2>/dev/null | grep -qx "$(realpath "$TMPDIR")/moved/lib/iograph/lammps.so"
}
[ ! -e "$IOG_BUILD/capture/lammps.so" ] || point "iog capture finds its libraries" captures
point "uninstall leaves nothing" nothing_left
echo "1..$n"
