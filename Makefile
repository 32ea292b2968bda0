# SPDX-License-Identifier: BSD-3-Clause
# The only Makefile. `make help` says what it can do; CONTRIBUTING.md says how the tree is laid out.
#
# Variables for the command line: CC, OPT, WERROR=0, BUILD=dir, SANITIZE=address,undefined, PREFIX, DESTDIR,
# T=part of a test's path, FUZZ_SECONDS, ROUNDS, SEED.

VERSION   := 0.1.0
SOVERSION := 0

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
.PHONY: FORCE
dry_run := $(findstring n,$(filter-out --%,$(firstword -$(MAKEFLAGS))))
MAKEFLAGS += --no-builtin-rules
# All cores, unless the caller said how many.
ifeq ($(MAKELEVEL)$(shell { echo "$$MAKEFLAGS"; tr '\0' ' ' </proc/$$PPID/cmdline; } | grep -E -- '(^| )(-[a-zA-Z]*j|--jobs)'),0)
MAKEFLAGS += -j$(shell nproc)
endif

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif
CLANG        ?= clang
OBJCOPY      ?= objcopy
BUILD        ?= build
PREFIX       ?= /usr/local
# Under a sanitizer the checks matter, not the speed; the results must be the same bits.
OPT          ?= $(if $(SANITIZE),-O1,-O3) -g
WERROR       ?= 1
SANITIZE     ?=
FUZZ_SECONDS ?= 60
ROUNDS       ?= 1000
SEED         ?=
T            ?=
S            := @

# ---- what this machine has ----------------------------------------------------------------------------------------

# These goals compile nothing and must work where no compiler is.
NO_CONFIG := help clean deps uninstall format
goals     := $(or $(MAKECMDGOALS),all)

# `make test` and `make demo` are complete on a fresh machine: their packages come first, before anything is probed.
ifeq ($(MAKELEVEL)$(MAKE_RESTARTS)$(dry_run),0)
sets := $(sort $(if $(filter test,$(goals)),build test) $(if $(filter demo,$(goals)),build demo))
ifneq ($(sets),)
$(shell build-aux/deps --go-on $(sets) >&2)
endif
endif

ifneq ($(filter-out $(NO_CONFIG),$(goals)),)
include $(BUILD)/config.mk
endif

# Probed again when packages came or went.
$(BUILD)/config.mk: build-aux/configure Makefile $(wildcard /var/lib/dpkg/status)
	$(S)CC='$(CC)' VERSION='$(VERSION)' build-aux/configure $(BUILD)
	$(S)[ $(MAKELEVEL) != 0 ] || cat $(BUILD)/config.txt

# ---- sources ------------------------------------------------------------------------------------------------------

not_tests = $(foreach f,$1,$(if $(filter test-%,$(notdir $f)),,$f))

# A source that includes the header of a missing library is left out, with the tests beside it (see PARTS above).
lacking := $(if $(MISSING_HEADERS),$(shell grep -lE '^\# *include *<($(subst $() ,|,$(strip $(MISSING_HEADERS))))>' \
	$(wildcard operators/*/*.c runtime/host/*.c runtime/host/endpoints/*.c bindings/*/*.c bench/*.c tests/*.c) /dev/null))
tests_lacking := $(filter tests/%,$(lacking)) $(foreach f,$(filter-out tests/%,$(lacking)), \
	$(if $(filter operators/%,$f),$(wildcard $(dir $f)test-*.c),$(wildcard $(dir $f)test-$(notdir $f))))
present = $(filter-out $(lacking),$(call not_tests,$(wildcard $1)))

CORE_SRC     := $(call present,core/*.c)
OP_SRC       := $(call present,operators/*.c operators/*/*.c)
LIB_SRC      := $(CORE_SRC) $(OP_SRC) $(call present,placement/*.c runtime/host/*.c runtime/host/endpoints/*.c bindings/c/*.c $(filter-out %/lua-client.c,$(wildcard bindings/lua/*.c)))
CLI_SRC      := $(call present,bindings/cli/*.c bench/*.c)
# What is preloaded into programs: a library for each file but those that they share. No program starts with one that wants a sanitizer.
CAPTURE_OWN  := bindings/capture/capture.c bindings/capture/files.c
CAPTURE_SRC  := $(if $(SANITIZE),,$(filter-out $(CAPTURE_OWN) %/mpiio.c,$(call present,bindings/capture/*.c)))
SUPPORT_SRC  := $(wildcard tests/support/*.c)
HELPER_SRC   := $(wildcard tests/helpers/*.c)
FUZZ_SRC     := $(wildcard tests/fuzz/fuzz-*.c)
HEADERS      := $(wildcard core/*.h operators/*.h operators/*/*.h placement/*.h runtime/host/*.h runtime/host/*/*.h \
	bindings/*/*.h bench/*.h tests/support/*.h)
TEST_SRC     := $(wildcard core/test-*.c operators/*/test-*.c placement/test-*.c runtime/host/test-*.c \
	runtime/host/vm/test-*.c runtime/host/endpoints/test-*.c bindings/*/test-*.c tests/*.c)
TEST_SH      := $(wildcard tests/*.sh tests/*/run.sh)
GUEST_SRC    := $(call not_tests,$(wildcard runtime/host/vm/*.c))
GUEST_ASM    := $(wildcard runtime/host/vm/*.S)
GUEST_LD     := $(wildcard runtime/host/vm/*.ld)

# Freestanding: operators (folders) that carry the flag IOG_FREESTANDING, operators/all.c, which lists only those where IOG_GUEST
# is defined, and core but for files whose head says "Hosted" (and why).
FREE_OP   := $(sort $(filter operators/all.c,$(OP_SRC)) \
	$(foreach f,$(shell grep -lw IOG_FREESTANDING $(OP_SRC) /dev/null),$(filter $(dir $f)%,$(OP_SRC))))
FREE_CORE := $(filter-out $(shell grep -lE 'Hosted[:,.]' $(CORE_SRC) /dev/null),$(CORE_SRC))

# ---- flags --------------------------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes $(if $(filter 1,$(WERROR)),-Werror)
LANGUAGE := -std=gnu17 -D_GNU_SOURCE= -I. -ffp-contract=off $(MARCH)
is_clang := $(findstring clang,$(notdir $(CC)))

ifneq ($(SANITIZE),)
SANITIZER := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer -DIOG_SANITIZED=1
ifneq ($(findstring thread,$(SANITIZE)),)
SANITIZER += $(if $(is_clang),,-Wno-tsan)
endif
# What gcc cannot see through the checks it added itself.
SANITIZER += $(if $(is_clang),,-Wno-maybe-uninitialized)
endif

IOG_CFLAGS  := $(LANGUAGE) $(OPT) -pthread -fPIC -fno-semantic-interposition $(WARNINGS) -include $(BUILD)/config.h \
	$(PART_CFLAGS) $(SANITIZER) $(CPPFLAGS) $(CFLAGS)
IOG_LDFLAGS := -pthread $(SANITIZER) -Wl,--as-needed $(LDFLAGS)
IOG_LIBS    := $(PART_LIBS) -lm -ldl -lrt $(LDLIBS)
# Not -ffreestanding: that makes a call of every memcpy of four bytes. make purity sees to it that nothing else of libc is called. No
# config.h: the guest has none of the libraries it lists.
GUEST_CFLAGS := $(LANGUAGE) -O3 -g -nostdlib -static -fno-pic -fno-pie -fno-stack-protector \
	-fcf-protection=none -mno-red-zone -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections -DIOG_GUEST=1 \
	-DIOG_VERSION='"$(VERSION)"' $(if $(is_clang),-fno-builtin-bcmp) $(WARNINGS)
DEPFLAGS     = -MMD -MP -MF $(@:.o=.d)

obj   = $(patsubst %,$(BUILD)/obj/%.o,$(basename $1))
guest = $(patsubst %,$(BUILD)/guest/%.o,$(basename $1))

# ---- libraries and programs ---------------------------------------------------------------------------------------

LIB_A   := $(BUILD)/libiograph.a
LIB_SO  := $(BUILD)/libiograph.so.$(VERSION)
IOG     := $(if $(wildcard bindings/cli/*.c),$(BUILD)/iog)
PC      := $(BUILD)/iograph.pc $(BUILD)/iograph-uninstalled.pc
FORTRAN_A := $(if $(HAVE_FORTRAN),$(BUILD)/libiograph_fortran.a)
FORTRAN_PC := $(if $(HAVE_FORTRAN),$(BUILD)/iograph-fortran.pc $(BUILD)/iograph-fortran-uninstalled.pc)
PYTHON_PY := $(wildcard bindings/python/iograph/*)
PYTHON_SO := $(BUILD)/python/iograph/_iograph.abi3.so
PYTHON_ALL := $(if $(HAVE_PYTHON),$(PYTHON_SO) $(patsubst bindings/%,$(BUILD)/%,$(PYTHON_PY)))
LUA_SO  := $(BUILD)/lua/iograph.so
CORE_A  := $(BUILD)/parts/core.a
OP_A    := $(BUILD)/parts/operators.a
CLI_A   := $(BUILD)/parts/cli.a
SUP_A   := $(BUILD)/parts/support.a
CAP_A   := $(BUILD)/parts/capture.a
CAPTURE := $(patsubst bindings/capture/%.c,$(BUILD)/capture/%.so,$(CAPTURE_SRC)) \
	$(if $(SANITIZE),,$(foreach m,openmpi mpich,$(if $(MPICC_$m),$(BUILD)/capture/mpiio-$m.so)))
LIB_OBJ := $(call obj,$(LIB_SRC)) $(BUILD)/obj/build-aux/vm-image.o

## all: libraries, build/iog, bindings, pkg-config files (the default)
.PHONY: all
all: $(LIB_A) $(LIB_SO) $(IOG) $(CAPTURE) $(FORTRAN_A) $(FORTRAN_PC) $(PYTHON_ALL) $(LUA_SO) $(PC)

# A stamp changes when what it holds changes: flags, or the list of objects of an archive.
stamp = $(S)mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$1)' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$1)' >$@
$(BUILD)/flags: FORCE
	$(call stamp,$(CC) $(IOG_CFLAGS))
$(BUILD)/link-flags: FORCE
	$(call stamp,$(IOG_LDFLAGS) $(IOG_LIBS))
$(BUILD)/guest/flags: FORCE
	$(call stamp,$(CC) $(GUEST_CFLAGS))

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(S)$(CC) $(IOG_CFLAGS) $(OWN_CFLAGS) $(DEPFLAGS) -c -o $@ $<

define archive
$1: $2 $1.list
	@mkdir -p $$(@D)
	@echo "  AR      $$@"
	$$(S)rm -f $$@ && $$(AR) rcsD $$@ $$(filter %.o,$$^)
$1.list: FORCE
	$$(call stamp,$2)
endef
$(eval $(call archive,$(LIB_A),$(LIB_OBJ)))
$(eval $(call archive,$(CORE_A),$(call obj,$(CORE_SRC))))
$(eval $(call archive,$(OP_A),$(call obj,$(OP_SRC))))
$(eval $(call archive,$(CLI_A),$(call obj,$(CLI_SRC))))
$(eval $(call archive,$(SUP_A),$(call obj,$(SUPPORT_SRC))))
$(eval $(call archive,$(CAP_A),$(call obj,$(CAPTURE_OWN))))

$(LIB_SO): $(LIB_OBJ) $(LIB_A).list build-aux/libiograph.map $(BUILD)/link-flags
	@echo "  LD      $@"
	$(S)$(CC) -shared $(if $(SANITIZE),,-Wl,-z,defs) -Wl,-soname,libiograph.so.$(SOVERSION) -Wl,--version-script=build-aux/libiograph.map \
		-Wl,-Bsymbolic-functions -o $@ $(filter %.o,$^) $(IOG_LDFLAGS) $(IOG_LIBS)
	$(S)ln -sf $(@F) $(BUILD)/libiograph.so.$(SOVERSION) && ln -sf $(@F) $(BUILD)/libiograph.so

$(BUILD)/iog: $(call obj,$(CLI_SRC)) $(LIB_A) $(CLI_A).list $(BUILD)/link-flags
	@echo "  LD      $@"
	$(S)$(CC) -o $@ $(filter %.o,$^) $(LIB_A) $(IOG_LDFLAGS) $(IOG_LIBS)

# Nothing is seen of it but what it interposes, so it meets a libiograph of the program's own in peace; and it needs nothing but libc.
$(BUILD)/capture/%.so: $(BUILD)/obj/bindings/capture/%.o $(CAP_A) $(LIB_A) $(BUILD)/link-flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(S)$(CC) -shared -Wl,-z,defs -Wl,--exclude-libs,ALL -o $@ $< $(CAP_A) $(LIB_A) $(IOG_LDFLAGS) $(CAPTURE_LIBS) -ldl

# One for each MPI that is there: their headers differ. The library of MPI is the program's own.
define capture_mpi
$(BUILD)/obj/bindings/capture/mpiio-$1.o: bindings/capture/mpiio.c $(BUILD)/flags
	@mkdir -p $$(@D)
	@echo "  CC      $$< ($1)"
	$$(S)$(CC) $(IOG_CFLAGS) $(patsubst -I%,-isystem %,$(filter -I%,$(shell $(MPICC_$1) -show 2>/dev/null))) $$(DEPFLAGS) -c -o $$@ $$<
$(BUILD)/capture/mpiio-$1.so: $(BUILD)/obj/bindings/capture/mpiio-$1.o $(CAP_A) $(LIB_A) $(BUILD)/link-flags
	@mkdir -p $$(@D)
	@echo "  LD      $$@"
	$$(S)$(CC) -shared -Wl,--exclude-libs,ALL -o $$@ $$< $(CAP_A) $(LIB_A) $(IOG_LDFLAGS) $(CAPTURE_LIBS) -ldl
endef
$(foreach m,openmpi mpich,$(if $(MPICC_$m),$(eval $(call capture_mpi,$m))))

# It carries the table.
$(call obj,bench/bench.c): bench/targets.tsv

# In the folder of the build, where include/iograph is none, or under a prefix that may be moved.
fill_pc = $(S)sed -e 's|@VERSION@|$(VERSION)|' -e 's|@LIBS@|$(PART_LIBS) -pthread -lm -ldl -lrt|' \
	-e 's|@PREFIX@|$(if $(findstring uninstalled,$@),$${pcfiledir},$${pcfiledir}/../..)|' \
	-e 's|@LIBDIR@|$(if $(findstring uninstalled,$@),$${pcfiledir},$${prefix}/lib)|' \
	-e 's|@MODDIR@|$(if $(findstring uninstalled,$@),$${pcfiledir}/fortran,$${prefix}/include/iograph/fortran)|' \
	-e 's|@INCLUDEDIR@|$(if $(findstring uninstalled,$@),$(abspath .),$${prefix}/include/iograph)|' \
	-e 's|^Cflags: -I$${includedir}|&$(if $(findstring uninstalled,$@), -I$${includedir}/bindings/c)|' $< >$@
$(PC): build-aux/iograph.pc.in $(BUILD)/config.mk
	$(fill_pc)
$(FORTRAN_PC): build-aux/iograph-fortran.pc.in $(BUILD)/config.mk
	$(fill_pc)

# ---- other languages ----------------------------------------------------------------------------------------------

# Loaded into programs that have libraries of their own: linked with the archive, so that they bring nothing else, and hiding it.
TYPED_OBJ := $(call obj,bindings/typed/typed.c)
MODULE    = $(S)mkdir -p $(@D) && $(CC) -shared -o $@ $(filter %.o,$^) $(LIB_A) -Wl,--version-script=build-aux/module.map $(IOG_LDFLAGS) -lm

ifdef HAVE_FORTRAN
FORTRAN_OBJ := $(TYPED_OBJ) $(call obj,bindings/fortran/fortran-glue.c bindings/fortran/iograph.f90)
$(eval $(call archive,$(FORTRAN_A),$(FORTRAN_OBJ)))
endif
$(call obj,bindings/fortran/fortran-glue.c): OWN_CFLAGS := $(FORTRAN_CFLAGS)
# It leaves iograph.mod as well.
$(BUILD)/obj/%.o: %.f90 $(BUILD)/config.mk
	@mkdir -p $(@D) $(BUILD)/fortran
	@echo "  FC      $<"
	$(S)$(FC) -std=f2018 -O2 -g -fPIC -Wall -Wextra $(if $(filter 1,$(WERROR)),-Werror) $(FFLAGS) -J$(BUILD)/fortran -c -o $@ $<

$(call obj,bindings/python/python-module.c): OWN_CFLAGS := $(PYTHON_CFLAGS)
$(PYTHON_SO): $(TYPED_OBJ) $(call obj,bindings/python/python-module.c) $(LIB_A) $(BUILD)/link-flags
	@echo "  LD      $@"
	$(MODULE)
$(BUILD)/python/%: bindings/python/%
	$(S)mkdir -p $(@D) && cp $< $@
$(LUA_SO): $(TYPED_OBJ) $(call obj,bindings/lua/lua-client.c) $(LIB_A) $(BUILD)/link-flags
	@echo "  LD      $@"
	$(MODULE)

# ---- the image of the sidecore VM ---------------------------------------------------------------------------------

# Guest side of the VMM + freestanding core + freestanding operators, linked flat, carried inside the library.
$(BUILD)/guest/%.o: %.c $(BUILD)/guest/flags
	@mkdir -p $(@D)
	@echo "  GUEST   $<"
	$(S)$(CC) $(GUEST_CFLAGS) $(GUEST_OWN) $(DEPFLAGS) -c -o $@ $<
$(BUILD)/guest/%.o: %.S $(BUILD)/guest/flags
	@mkdir -p $(@D)
	@echo "  GUEST   $<"
	$(S)$(CC) $(GUEST_CFLAGS) $(GUEST_OWN) $(DEPFLAGS) -c -o $@ $<
# What implements memcpy must not be compiled into a call of memcpy.
$(BUILD)/guest/runtime/host/vm/%.o: GUEST_OWN := $(if $(is_clang),-fno-builtin,-fno-tree-loop-distribute-patterns)

GUEST_OBJ := $(call guest,$(GUEST_ASM) $(GUEST_SRC) $(FREE_CORE) $(FREE_OP))
ifneq ($(and $(GUEST_SRC),$(GUEST_LD),$(HAVE_KVM)),)
$(BUILD)/vm-image.elf: $(GUEST_OBJ) $(GUEST_LD)
	@echo "  GUEST   $@"
	$(S)$(CC) -nostdlib -static $(if $(is_clang),,-no-pie) -Wl,--build-id=none -Wl,--gc-sections -Wl,-T,$(GUEST_LD) -o $@ $(GUEST_OBJ)
$(BUILD)/vm-image.bin: $(BUILD)/vm-image.elf
	$(S)$(OBJCOPY) -O binary $< $@
else
$(BUILD)/vm-image.bin: $(BUILD)/config.mk
	$(S): >$@
endif
$(BUILD)/obj/build-aux/vm-image.o: build-aux/vm-image.S $(BUILD)/vm-image.bin $(BUILD)/flags
	@mkdir -p $(@D)
	$(S)$(CC) -I$(BUILD) -Wa,-I$(BUILD) -c -o $@ $<

# ---- tests --------------------------------------------------------------------------------------------------------

FUZZ_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(if $(T),$(foreach f,$(FUZZ_SRC),$(if $(findstring $(T),$f),$f)),$(FUZZ_SRC)))

## test: every test, through TAP; T=part of a path runs some. On a fresh Debian it installs what it needs first
## check: like test, without looking for packages and without fuzzing
.PHONY: test check test-programs
chosen   = $(if $(T),$(foreach f,$1,$(if $(findstring $(T),$f),$f)),$1)
program  = $(patsubst %.c,$(BUILD)/tests/%,$(patsubst tests/%,%,$1))
RUN_SRC := $(call chosen,$(TEST_SRC) $(TEST_SH))
BUILD_SRC := $(if $(HAVE_CMOCKA),$(filter-out $(tests_lacking),$(filter %.c,$(RUN_SRC))))
RUNNER   = exec env PYTHON='$(PYTHON)' build-aux/run-tests --build $(BUILD) --sanitizer '$(SANITIZE)' \
	$(foreach f,$(tests_lacking),--skip '$f=a library it needs is missing: make config shows which') \
	$(if $(HAVE_CMOCKA),,--skip 'c=libcmocka-dev is not installed')

TEST_LIBS = $(SUP_A) $(CLI_A) $(LIB_A)
# The lower layers are tested against themselves only: core must not need what stands above it.
$(call program,$(filter core/%,$(TEST_SRC))): TEST_LIBS = $(CORE_A)
$(call program,$(filter core/%,$(TEST_SRC))): $(CORE_A)
$(call program,$(filter operators/%,$(TEST_SRC))): TEST_LIBS = $(SUP_A) $(OP_A) $(CORE_A)
$(call program,$(filter operators/%,$(TEST_SRC))): $(SUP_A) $(OP_A) $(CORE_A)
$(call program,$(filter-out core/% operators/%,$(TEST_SRC)) $(HELPER_SRC)): $(SUP_A) $(CLI_A) $(LIB_A) | $(IOG)

link_test = @mkdir -p $(@D); echo "  LD      $@"; \
	$(CC) -o $@ $(filter %.o,$^) -Wl,--start-group $(TEST_LIBS) -Wl,--end-group $(IOG_LDFLAGS) $(IOG_LIBS) -lcmocka
$(foreach f,$(TEST_SRC) $(HELPER_SRC),$(eval $(call program,$f): $(call obj,$f) $(BUILD)/link-flags; $$(link_test)))
test-programs: $(call program,$(BUILD_SRC) $(if $(filter-out core/% operators/%,$(RUN_SRC)),$(HELPER_SRC)))

# A part of the tests waits only for what it links, so that one layer can be worked on while another does not build.
whole := $(if $(and $(T),$(if $(filter %.sh,$(RUN_SRC)),,T)),,all)
test: $(whole) test-programs $(if $(FUZZ_PROGRAMS),fuzz-programs)
	+$(S)$(RUNNER) $(RUN_SRC) $(if $(FUZZ_PROGRAMS),--fuzz 5 $(FUZZ_PROGRAMS))
check: $(whole) test-programs
	+$(S)$(RUNNER) $(RUN_SRC)

## asan ubsan tsan: build under build/asan (...) with that sanitizer and run the fast tests there
.PHONY: asan ubsan tsan
asan:
	+$(S)$(MAKE) --no-print-directory BUILD=$(BUILD)/asan SANITIZE=address,undefined check
ubsan:
	+$(S)$(MAKE) --no-print-directory BUILD=$(BUILD)/ubsan SANITIZE=undefined check
tsan:
	+$(S)$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan SANITIZE=thread check

## fuzz: every fuzz target for FUZZ_SECONDS (60) each, from tests/fuzz/corpus/NAME
.PHONY: fuzz fuzz-programs fuzz-link
fuzz: fuzz-programs
	+$(S)$(RUNNER) --fuzz $(FUZZ_SECONDS) $(FUZZ_PROGRAMS)
fuzz-programs:
ifneq ($(FUZZ_PROGRAMS),)
	+$(S)if command -v $(CLANG) >/dev/null 2>&1; then \
		$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=$(CLANG) SANITIZE=fuzzer-no-link,address,undefined fuzz-link; \
	else echo "fuzz: $(CLANG) is not installed, so fuzz targets are not built"; fi
endif
# In the build directory of the fuzz targets (the line above).
fuzz-link: $(patsubst $(BUILD)/fuzz/%,$(BUILD)/%,$(FUZZ_PROGRAMS))
$(BUILD)/fuzz-%: $(BUILD)/obj/tests/fuzz/fuzz-%.o $(LIB_A) $(SUP_A)
	@echo "  LD      $@"
	$(S)$(CC) -fsanitize=fuzzer -o $@ $< $(SUP_A) $(LIB_A) $(IOG_LDFLAGS) $(IOG_LIBS)

## faults: ROUNDS (1000) rounds of accidents around an agent, from SEED on (the time): ROUNDS=1 SEED=N repeats one
.PHONY: faults
faults: all $(call program,$(HELPER_SRC))
	$(S)IOG=$(BUILD)/iog IOG_HELPERS=$(BUILD)/tests/helpers $(PYTHON) tests/helpers/attach-chaos.py --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

## nightly: what takes an hour: the whole suite as nobody and in a user namespace, a thousand rounds of accidents, ubsan
.PHONY: nightly
nightly: all test-programs
	+$(S)build-aux/unprivileged user
	+$(S)build-aux/unprivileged namespace
	+$(S)$(MAKE) --no-print-directory faults
	+$(S)$(MAKE) --no-print-directory ubsan

## headers: every header compiles alone; nobody includes what the layers forbid
.PHONY: headers purity
headers: $(BUILD)/config.mk
	$(S)CC='$(CC) $(filter-out -fPIC -fno-semantic-interposition,$(IOG_CFLAGS))' build-aux/check-headers $(HEADERS)

## purity: freestanding code needs nothing but mem*, operators have no globals and do no I/O
purity: $(call guest,$(FREE_CORE) $(FREE_OP)) $(call obj,$(OP_SRC))
	$(S)build-aux/check-purity $(BUILD) --core $(basename $(FREE_CORE)) --free $(basename $(FREE_OP)) --hosted $(basename $(OP_SRC))

# ---- everything else ----------------------------------------------------------------------------------------------

## demo: LAMMPS melt through a graph to pictures, H5MD and CSV in ./out
.PHONY: demo bench config deps format clean help
demo: all
	+$(S)IOG='$(abspath $(BUILD)/iog)' examples/md-crop/run.sh

## bench: measure everything, write bench/RESULTS.md
bench: $(IOG)
	+$(S)$(BUILD)/iog bench --markdown bench/RESULTS.md

## config: show which parts this machine has, and what to install for the others
config: $(BUILD)/config.mk
	@cat $(BUILD)/config.txt

## deps: list the Debian packages needed, install the missing ones
deps:
	$(S)build-aux/deps --list build test demo bench ci
	$(S)build-aux/deps build test demo bench ci

## format: clang-format over the whole tree
format:
	$(S)git ls-files '*.c' '*.h' | xargs -r clang-format -i

## install uninstall: under DESTDIR and PREFIX (/usr/local)
.PHONY: install uninstall
D := $(DESTDIR)$(PREFIX)
PUBLIC_HEADERS := $(filter-out %-private.h %-internal.h %-parts.h %/lua-value.h,$(wildcard core/*.h placement/*.h runtime/host/*.h bindings/lua/*.h))
MAN      := $(wildcard docs/man/*.[15])
EXAMPLES := $(shell git ls-files examples 2>/dev/null || find examples -type f -not -path '*/out/*' 2>/dev/null)
# The tree's shape is kept, so that pages find each other.
DOCS     := README.md CHANGELOG.md CONTRIBUTING.md LICENSE $(wildcard docs/*.md docs/images/* operators/*/*.md)
install: all
	install -d $(D)/bin $(D)/lib/pkgconfig $(D)/share/iographs
	$(if $(IOG),install -m 755 $(BUILD)/iog $(D)/bin/iog)
	$(if $(CAPTURE),install -d $(D)/lib/iograph && install -m 755 $(CAPTURE) $(D)/lib/iograph/)
	install -m 644 $(LIB_A) $(D)/lib/
	install -m 755 $(LIB_SO) $(D)/lib/
	ln -sf libiograph.so.$(VERSION) $(D)/lib/libiograph.so.$(SOVERSION)
	ln -sf libiograph.so.$(VERSION) $(D)/lib/libiograph.so
	install -m 644 $(BUILD)/iograph.pc $(D)/lib/pkgconfig/
	$(if $(HAVE_FORTRAN),install -m 644 $(FORTRAN_A) $(D)/lib/ && install -m 644 $(BUILD)/iograph-fortran.pc $(D)/lib/pkgconfig/ && \
		install -D -m 644 $(BUILD)/fortran/iograph.mod $(D)/include/iograph/fortran/iograph.mod)
	$(if $(HAVE_PYTHON),$(foreach f,$(PYTHON_ALL),install -D -m 644 $f $(D)/$(PYTHON_SITE)/$(patsubst $(BUILD)/python/%,%,$f) && ):)
	install -D -m 755 $(LUA_SO) $(D)/lib/lua/5.4/iograph.so
	$(foreach h,$(PUBLIC_HEADERS),install -D -m 644 $h $(D)/include/iograph/$h && ):
	install -m 644 bindings/c/iograph.h $(D)/include/iograph/iograph.h
	$(foreach m,$(MAN),install -D -m 644 $m $(D)/share/man/man$(subst .,,$(suffix $m))/$(notdir $m) && ):
	$(foreach e,$(EXAMPLES),install -D -m $(if $(filter %.sh,$e),755,644) $e $(D)/share/iographs/$e && ):
	$(foreach d,$(DOCS),install -D -m 644 $d $(D)/share/doc/iographs/$d && ):
	ln -sfn ../../iographs/examples $(D)/share/doc/iographs/examples
uninstall:
	rm -f $(D)/bin/iog $(D)/lib/libiograph.a $(D)/lib/libiograph.so* $(D)/lib/libiograph_fortran.a $(D)/lib/lua/5.4/iograph.so $(D)/lib/pkgconfig/iograph.pc $(D)/lib/pkgconfig/iograph-fortran.pc
	rm -f $(foreach m,$(MAN),$(D)/share/man/man$(subst .,,$(suffix $m))/$(notdir $m))
	rm -rf $(D)/lib/iograph $(D)/include/iograph $(D)/share/iographs $(D)/share/doc/iographs $(wildcard $(D)/lib/python3*/*-packages/iograph)

## clean: remove the build directory
clean:
	rm -rf $(BUILD)

## help: this list
help:
	@sed -n 's/^## \([a-z ]*\): /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F '\t' '{ printf "  make %-18s %s\n", $$1, $$2 }'
	@echo "  Variables: CC, OPT, WERROR=0, BUILD=dir, SANITIZE=..., PREFIX, DESTDIR, T=part of a test's path, FUZZ_SECONDS, ROUNDS, SEED"

-include $(shell find $(BUILD)/obj $(BUILD)/guest -name '*.d' 2>/dev/null)
