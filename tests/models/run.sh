#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Models of the protocol: right rules must hold in every state, wrong ones must fail in the way their model says.
# timeout: 1800
# slow: verifies models, runs none of our programs
# usage: run.sh [MODEL]   (as edge, or edge.pml)
set -u
LC_ALL=C
export LC_ALL

here=$(cd "$(dirname "$0")" && pwd)
for tool in spin timeout; do
	command -v "$tool" >/dev/null || { echo "1..0 # SKIP no $tool: install it to verify the models"; exit 0; }
done
cc=${CC:-cc}
command -v "${cc%% *}" >/dev/null || { echo "1..0 # SKIP no C compiler ($cc) for the verifiers"; exit 0; }
only=${1:-}
only=${only%.pml}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# Two points at a time, because one may need a gigabyte; each in a folder of its own, shown in the order of this file.
points=0
shown=0
failed=0

# show N: waits for the next points, until N are shown
show()
{
	while [ "$shown" -lt "$1" ]; do
		shown=$((shown + 1))
		wait "${job[shown]}"
		[ -s "$work/$shown/point" ] || echo "not ok $shown - ended early" >"$work/$shown/point"
		read -r result <"$work/$shown/point"
		case $result in not*) failed=$((failed + 1)) ;; esac
		cat "$work/$shown/point"
		rm -rf "${work:?}/$shown"
	done
}

# begin COMMAND...: makes the next point with that
begin()
{
	while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
	points=$((points + 1))
	mkdir "$work/$points"
	(
		trap - EXIT
		work=$work/$points
		"$@"
	) &
	job[points]=$!
	[ "$points" -le 4 ] || show $((points - 4))
}

# point RESULT NAME: a line of TAP; when it is not ok, with what the verifier said
point()
{
	{
		echo "$1 $points - $2"
		[ "$1" = ok ] || sed 's/^/# /' "$work/out" | head -40
	} >"$work/point"
}

# verify MODEL DEFINES CLAIM SEARCH: leaves in out what was said. Without a claim: assertions and deadlocks. With one: that, and cycles.
verify()
{
	echo 'nothing was verified' >"$work/out"
	rm -rf "$work/run" && mkdir "$work/run" && cd "$work/run" || return
	# shellcheck disable=SC2086 # several words
	spin -a $2 "$here/$1.pml" >"$work/out" 2>&1 || return
	mode='-DSAFETY -DNOCLAIM'
	[ -z "$3" ] || mode=-DNFAIR=3
	# shellcheck disable=SC2086
	$cc -w "$opt" -DMEMLIM=1500 -DCOLLAPSE -DVECTORSZ=4096 $mode -o pan pan.c >"$work/out" 2>&1 || return
	# shellcheck disable=SC2086
	timeout 300 ./pan -m1000000 ${3:+$4 -N $3} >"$work/out" 2>&1
	[ $? -ne 124 ] || echo 'time limit of 300 s reached' >>"$work/out"
}

# Everything was searched: no error, no limit hit, and the verifier came to its end.
complete()
{
	grep -q 'errors: 0' "$work/out" && grep -q 'Full statespace search' "$work/out" && grep -q 'pan: elapsed time' "$work/out" &&
		! grep -qE 'Search not completed|max search depth too small|reached -DMEMLIM|time limit' "$work/out"
}

# holds MODEL DEFINES [CLAIM [fair]]: "fair" assumes weak fairness, without it there is no assumption
holds() { [ -n "$only" ] && [ "$only" != "$1" ] || begin check_holds "$@"; }
check_holds()
{
	opt=-O2
	search=-a
	[ "${4:-}" != fair ] || search='-a -f'
	verify "$1" "$2" "${3:-}" "$search"
	what="$1${2:+ $2} holds${3:+, always ends}${4:+ when scheduling is fair}"
	if complete; then
		point ok "$what ($(sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' "$work/out") states)"
	else
		point 'not ok' "$what"
	fi
}

# fails MODEL DEFINES PATTERN: with the error that is expected, not with just any
fails() { [ -n "$only" ] && [ "$only" != "$1" ] || begin check_fails "$@"; }
check_fails()
{
	opt=-O0 # found soon
	verify "$1" "$2" '' ''
	if grep -q 'errors: 1' "$work/out" && grep -qE "^pan:1: $3" "$work/out"; then
		point ok "$1 $2 fails"
	else
		point 'not ok' "$1 $2 fails with \"$3\""
	fi
}

stuck='invalid end state'
broken='assertion violated .*'

holds edge -DPROMPT
holds edge -DN=3 released
fails edge -DRINGFIRST "${broken}gone"
fails edge -DPASSEDFIRST "${broken}gone"
fails edge -DFIRSTFREES "${broken}(content|held)"
fails edge -DEARLY "${broken}content"
fails edge -DNOCREDIT "${broken}out\\["
fails edge -DC=1 "$stuck"
fails edge -DSLOTS=1 "$stuck"

holds elision-join '' finished
holds elision-join '-DNOPASSED -DN=3 -DC=3 -DARENA=3'
fails elision-join -DNOPASSED "$stuck"
fails elision-join -DBATCHED "$stuck"

holds replace '' all_done
holds replace '-DC=3 -DSINKDEATHS=0'
holds replace '-DC=3 -DCRASHES=1'
holds replace '-DBAD=2 -DCRASHES=1' all_done
holds replace -DEVERY=2
holds replace -DLOSERINGS
holds replace '-DDUPNOW -DCOPIED -DSINKDEATHS=0'
fails replace '-DEARLY -DSINKDEATHS=0' "${broken}content"
fails replace '-DEARLY -DCOPIED' "($stuck|${broken}seen)"
fails replace '-DONEACK -DSINKDEATHS=0' "${broken}content"
fails replace -DLATEBASE "${broken}released"
fails replace '-DDUPNOW -DSINKDEATHS=0' "${broken}content"
fails replace '-DDUPNOW -DCOPIED' "($stuck|${broken}seen)"
fails replace '-DNEWEST -DSINKDEATHS=0' "${broken}content"
fails replace '-DNEWEST -DCOPIED' "($stuck|${broken}seen)"
fails replace -DONEBUFFER "${broken}v=="
fails replace -DEVERY=3 "$stuck"
fails replace '-DBAD=2 -DNOPOISON' "${broken}inc<"
fails replace -DBUSYLONG "${broken}v=="
fails replace -DINFLIGHT "${broken}v=="
fails replace '-DFORGETFUL -DCRASHES=3 -DSINKDEATHS=0' "${broken}v=="

holds window ''
holds window '-DCRASHES=1 -DW=3 -DN=7'
holds window '-DW=1 -DCREDIT=1'
fails window -DTHROUGHNAME "${broken}from"
fails window -DALLDECIDED "${broken}wanted"
fails window -DMIDRECORD "${broken}state"
fails window -DPASSALL "${broken}wanted"
fails window -DPASSFIRST "${broken}wanted"
fails window -DC=W "$stuck"
fails window -DNOCLEAR "$stuck"

holds mailbox '' newest_seen
holds mailbox '-DDIES -DN=6' newest_seen
fails mailbox -DNOREREAD "$stuck"
fails mailbox -DUNSEEN "$stuck"
fails mailbox -DHOLD=4 "$stuck"
fails mailbox -DSLOTS=4 "${broken}free"
fails mailbox -DSPLITPUT "${broken}where"
fails mailbox -DSPLITTAKE "${broken}(entry|where)"
fails mailbox '-DDIES -DEAGER' "${broken}(entry|content|where)"
fails mailbox '-DDIES -DNOREPUT' "$stuck"

holds sleep '' all_seen fair
holds sleep -DELIDE all_seen fair
holds sleep '-DELIDE -DFORGED' all_seen fair
holds sleep '-DNOLIMIT -DFENCE' all_seen fair
holds sleep '-DNOLIMIT -DFENCE -DELIDE -DEVENTS' all_seen fair
fails sleep -DNOLIMIT "$stuck"
fails sleep '-DNOLIMIT -DFENCE -DELIDE' "$stuck"

[ "$points" -gt 0 ] || { echo "Bail out! no model \"$only\""; exit 1; }
show "$points"
echo "1..$points"
[ "$failed" -eq 0 ]
