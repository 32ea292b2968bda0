/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures LAMMPS: the atoms of every rank at the steps of `run` and `minimize`, as a stream "md". Runs on the main thread of each rank.
 *
 * Nothing is added to the simulation, no fix and no command, so it computes what it computes without. Two functions that LAMMPS calls at the
 * beginning of each step (Integrate::ev_set, Min::ev_set) are interposed, and the commands themselves. When step n + 1 of a run begins, the atoms are those of
 * the end of step n, with whole-step velocities; the last step is there when the command returns. A minimizer tries positions within a step, so
 * those of its last try are kept until the next step begins.
 *
 * What is asked of LAMMPS goes through its library interface (lammps_*), by dlsym. Who has how many atoms is exchanged among the ranks of a node in one
 * small collective call per captured step, in which all ranks take part whatever state their streams are in: it says where each rank's part lies in the
 * whole, and nobody publishes a step that does not fit somewhere.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"

enum {
	RANKS = 64,
	SLEEP = 64,             /* wanted steps between two looks whether anybody has an agent again */
	SLACK = 64 << 10,       /* what a step has beside atoms */
	SMALL = 16 << 20,       /* bytes of memory that is not worth saving */
	LEAST_STEPS = 21,       /* 17 that every stream takes, and four */
	LEAST_STEPS_LOSSY = 25, /* of those that never wait for a reader it takes 21 */
	BONDS = 4 << 20,        /* every rank has all of them for a moment */
};

/* ---- LAMMPS ---- */

static struct {
	void *(*global)(void *, const char *);
	void *(*atom)(void *, const char *);
	int (*setting)(void *, const char *);
	int (*comm)(void *);           /* as Fortran has it */
	void (*bonds)(void *, void *); /* NULL: of a version that cannot say */
} lammps;

/* The library that an object's class is from, which the program may have loaded for itself, where RTLD_NEXT does not see it. */
static void *library_of(void *object)
{
	static void *library;
	Dl_info info;
	if (!library && dladdr(*(void **)object, &info) && info.dli_fname)
		library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
	return library ? library : RTLD_NEXT;
}

static bool find_lammps(void *object)
{
	void *library = library_of(object);
	lammps.global = dlsym(library, "lammps_extract_global");
	lammps.atom = dlsym(library, "lammps_extract_atom");
	lammps.setting = dlsym(library, "lammps_extract_setting");
	lammps.comm = dlsym(library, "lammps_get_mpi_comm");
	lammps.bonds = dlsym(library, "lammps_gather_bonds");
	return lammps.global && lammps.atom && lammps.setting && lammps.comm;
}

/* Classes of LAMMPS have, behind the pointer to their virtual functions, the pointer to what they belong to. */
static void *handle_of(void *object) { return ((void **)object)[1]; }

/* Whole numbers of LAMMPS are of 4 or 8 bytes. */
static int64_t whole(const void *p, size_t size)
{
	int32_t small = 0;
	int64_t large = 0;
	if (!p)
		return 0;
	if (size == 8)
		memcpy(&large, p, 8);
	else
		memcpy(&small, p, 4);
	return size == 8 ? large : small;
}

static double real(void *lmp, const char *name)
{
	const double *p = lammps.global(lmp, name);
	return p ? *p : 0;
}

/* ---- the ranks of a node ---- */

/*
 * MPI, without its header: the two families differ in what a handle is (an address, a number), which fits an intptr_t in either case, and in some constants.
 */
static struct {
	int (*split)(intptr_t comm, int type, int key, intptr_t info, intptr_t *node);
	int (*rank)(intptr_t comm, int *rank);
	int (*size)(intptr_t comm, int *size);
	int (*allgather)(const void *from, int n, intptr_t type, void *to, int m, intptr_t type2, intptr_t comm);
	intptr_t node, i64;
} mpi;

/* Collective: where this rank is on its node, and how many are on the fullest one. */
static bool join_node(void *lmp, int ranks, int *rank, int *nranks, int *most)
{
	int64_t *sizes, mine;
	int (*version)(char *, int *) = dlsym(RTLD_DEFAULT, "MPI_Get_library_version");
	intptr_t (*f2c)(int) = dlsym(RTLD_DEFAULT, "MPI_Comm_f2c");
	void *open_i64 = dlsym(RTLD_DEFAULT, "ompi_mpi_int64_t"), *open_info = dlsym(RTLD_DEFAULT, "ompi_mpi_info_null");
	const bool open_mpi = open_i64 && open_info && f2c;
	char text[8192] = "";
	int n = 0, shared = open_mpi ? 0 : 1;
	intptr_t world = lammps.comm(lmp), info = open_mpi ? (intptr_t)open_info : 0x1c000000;
	if (version)
		version(text, &n);
	if (!open_mpi && !strstr(text, "MPICH") && !strstr(text, "Intel(R) MPI") && !strstr(text, "MVAPICH"))
		return false;
	mpi.split = dlsym(RTLD_DEFAULT, "MPI_Comm_split_type");
	mpi.rank = dlsym(RTLD_DEFAULT, "MPI_Comm_rank");
	mpi.size = dlsym(RTLD_DEFAULT, "MPI_Comm_size");
	mpi.allgather = dlsym(RTLD_DEFAULT, "MPI_Allgather");
	mpi.i64 = open_mpi ? (intptr_t)open_i64 : 0x4c00083a;
	if (!mpi.split || !mpi.rank || !mpi.size || !mpi.allgather)
		return false;
	if (open_mpi)
		world = f2c((int)world);
	if (mpi.split(world, shared, 0, info, &mpi.node) || mpi.rank(mpi.node, rank) || mpi.size(mpi.node, nranks))
		return false;
	mine = *most = *nranks;
	sizes = calloc((size_t)ranks, sizeof *sizes);
	bool ok = sizes && !mpi.allgather(&mine, 1, mpi.i64, sizes, 1, mpi.i64, world);
	for (int r = 0; ok && r < ranks; r++)
		*most = (int)(sizes[r] > *most ? sizes[r] : *most);
	free(sizes);
	return ok;
}

/* ---- what a step holds ---- */

struct frame {
	int64_t step, n;
	double time;
	const double *x, *v;
	const int32_t *type;
	const void *id, *image; /* id NULL: the atoms have none */
	bool missing;           /* it cannot be published: why was said */
	double box[9], origin[3];
};

static struct {
	bool opened, off; /* off: this LAMMPS is not captured, said why */
	void *lmp;
	iog_stream *stream;
	int rank, nranks;
	size_t big, tag, img;      /* bytes of LAMMPS's whole numbers */
	int64_t most, room, bonds; /* atoms of the whole and of this rank, at most; bonds */
	int32_t *bond;             /* pairs of ids, rank 0 */
	int64_t last, begun;       /* step that was published last; first one of the command */
	bool any, statics;         /* a step was; the first step of an epoch has had its static values */
	int code;                  /* of the last iog_begin */
	int sleep;
	bool runs, minimizes, steps;
	bool other;        /* a system with other bonds than the first one */
	struct frame held; /* of a minimizer; step < 0: none */
	void *memory[5];
	int64_t held_room;
} c = { .held = { .step = -1 } };

static const struct units {
	const char *name, *length, *velocity;
} units[] = { { "real", "Angstrom", "Angstrom/fs" }, { "metal", "Angstrom", "Angstrom/ps" }, { "si", "m", "m/s" }, { "cgs", "cm", "cm/s" },
	{ "electron", "Bohr", "" }, { "micro", "um", "um/us" }, { "nano", "nm", "nm/ns" }, { "lj", "", "" } };

/* The atoms as LAMMPS has them now: nothing is copied. */
static void look(void *lmp, int64_t step, struct frame *f)
{
	const double *const *x = lammps.atom(lmp, "x"), *const *v = lammps.atom(lmp, "v");
	const double *lo = lammps.global(lmp, "boxlo"), *hi = lammps.global(lmp, "boxhi");
	const double edge[3] = { hi[0] - lo[0], hi[1] - lo[1], hi[2] - lo[2] };
	const double box[9] = { edge[0], 0, 0, real(lmp, "xy"), edge[1], 0, real(lmp, "xz"), real(lmp, "yz"), edge[2] };
	*f = (struct frame){ .step = step,
		.n = whole(lammps.global(lmp, "nlocal"), 4),
		.time = real(lmp, "atime"),
		.x = x ? x[0] : NULL,
		.v = v ? v[0] : NULL,
		.type = lammps.atom(lmp, "type"),
		.id = c.tag ? lammps.atom(lmp, "id") : NULL,
		.image = lammps.atom(lmp, "image") };
	if (!c.minimizes) /* where no time goes by */
		f->time += (double)(step - whole(lammps.global(lmp, "atimestep"), c.big)) * real(lmp, "dt");
	memcpy(f->box, box, sizeof box);
	memcpy(f->origin, lo, sizeof f->origin);
}

/* ---- opening ---- */

static void schema(void *lmp, char *text, size_t size)
{
	const char *style = lammps.global(lmp, "units");
	const struct units *u = &units[sizeof units / sizeof *units - 1];
	char id[32] = "", bond[64] = "";
	for (unsigned i = 0; style && i < sizeof units / sizeof *units; i++)
		if (!strcmp(units[i].name, style))
			u = &units[i];
	if (c.tag)
		snprintf(id, sizeof id, "id: i%zu[atom]; ", 8 * c.tag);
	if (c.bonds)
		snprintf(bond, sizeof bond, "; static bond: i32[bond=%lld,end=2]", (long long)c.bonds);
	snprintf(text, size,
		"position: f64[atom<=%lld,xyz] %s; velocity: f64[atom,xyz] %s; %stype: i32[atom]; image: i32[atom,xyz]; box: f64[cell,xyz] "
		"%s; "
		"box_origin: f64[xyz] %s; static periodic: bool[xyz]%s",
		(long long)c.most, u->length, u->velocity, id, u->length, u->length, bond);
}

static int64_t bonds_of(void *lmp) { return lammps.bonds && c.tag == 4 ? whole(lammps.global(lmp, "nbonds"), c.big) : 0; }

/* Collective. Bonds as pairs of ids; not those of LAMMPS with ids of 8 bytes, whose interface has no room for them. */
static void gather_bonds(void *lmp)
{
	int32_t *all = calloc((size_t)c.bonds + 1, 3 * sizeof *all);
	if (!all || !c.bonds) {
		free(all);
		return;
	}
	lammps.bonds(lmp, all);
	for (int64_t i = 0; c.bond && i < c.bonds; i++)
		c.bond[2 * i] = all[3 * i + 1], c.bond[2 * i + 1] = all[3 * i + 2];
	free(all);
}

/* Places what this rank has, `mine` of `all` atoms from `before` on. */
static void place(int64_t mine, int64_t before, int64_t all)
{
	static const char *const names[] = { "position", "velocity", "id", "type", "image" };
	const int64_t global[] = { all, 3 }, offset[] = { before, 0 }, count[] = { mine, 3 };
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (c.tag || i != 2)
			iog_block(c.stream, names[i], global, offset, count);
}

/* What the lowest rank has for all. */
static void place_common(void)
{
	static const int64_t zero[2], cell[] = { 3, 3 };
	const int64_t bonds[] = { c.bonds, 2 }, *none = zero;
	iog_block(c.stream, "box", cell, zero, c.rank ? none : cell);
	iog_block(c.stream, "box_origin", cell, zero, c.rank ? none : cell);
	iog_block(c.stream, "periodic", cell, zero, c.rank ? none : cell);
	if (c.bonds)
		iog_block(c.stream, "bond", bonds, zero, c.rank ? none : bonds);
}

/* Collective, at the first command. */
static void open_stream(void *lmp)
{
	char text[512], options[64];
	const int world = lammps.setting(lmp, "world_size");
	c.opened = true;
	c.lmp = lmp;
	c.nranks = 1;
	c.big = (size_t)lammps.setting(lmp, "bigint");
	c.img = (size_t)lammps.setting(lmp, "imageint");
	const int has_ids = lammps.setting(lmp, "tag_enable"); /* -1: of a version that does not say */
	c.tag = has_ids == 1 || (has_ids < 0 && lammps.atom(lmp, "id")) ? (size_t)lammps.setting(lmp, "tagint") : 0;
	c.off = true;
	int most = 1;
	if (lammps.setting(lmp, "universe_size") != world) {
		iog_capture_note("nothing was captured: LAMMPS runs in partitions");
		return;
	}
	if (world > 1 && !join_node(lmp, world, &c.rank, &c.nranks, &most)) {
		iog_capture_note("nothing was captured: this MPI is neither Open MPI nor of MPICH's family");
		return;
	}
	if (most > RANKS) {
		iog_capture_note("nothing was captured: %d ranks on a node, %d are possible", most, RANKS);
		return;
	}
	c.off = false;
	c.most = whole(lammps.global(lmp, "natoms"), c.big);
	if (c.most < 1)
		c.most = 1;
	c.bonds = bonds_of(lmp);
	if (c.bonds > BONDS) {
		iog_capture_note("bonds were left out: there are more than %d", BONDS);
		c.bonds = 0;
	}
	c.bond = c.bonds && !c.rank ? calloc((size_t)c.bonds, 2 * sizeof *c.bond) : NULL;
	/* Atoms wander between ranks; what is there twice over is more than they do in a system of some size. */
	const int64_t local = whole(lammps.global(lmp, "nlocal"), 4), even = c.most / c.nranks;
	c.room = (local > even ? local : even) * 3 / 2 + 256;
	if (c.room > c.most)
		c.room = c.most;
	schema(lmp, text, sizeof text);
	/* Readers may lag behind by four large steps, or more small ones: what is taken here costs the program 0.7 ms a MiB. */
	const char *policy = getenv("IOG_CAPTURE_POLICY");
	const uint64_t steps = policy && *policy && strcmp(policy, "block") ? LEAST_STEPS_LOSSY : LEAST_STEPS;
	const uint64_t least = steps * ((uint64_t)c.room * (48 + 4 + 12 + c.tag) + SLACK), bytes = least > SMALL ? least : SMALL;
	snprintf(options, sizeof options, "bytes=%llu", (unsigned long long)bytes);
	c.stream = iog_capture_open(iog_capture_name("md"), text, options, c.rank, c.nranks);
	place(c.room, 0, c.most);
	place_common();
}

/* ---- publishing ---- */

/* Three numbers packed in one. */
static void unpack_images(int32_t *to, const struct frame *f)
{
	const int32_t *small = f->image;
	const int64_t *large = f->image;
	for (int64_t i = 0; c.img != 8 && i < f->n; i++) {
		to[3 * i] = (small[i] & 1023) - 512;
		to[3 * i + 1] = (small[i] >> 10 & 1023) - 512;
		to[3 * i + 2] = (small[i] >> 20) - 512;
	}
	for (int64_t i = 0; c.img == 8 && i < f->n; i++) {
		to[3 * i] = (int32_t)((large[i] & 2097151) - 1048576);
		to[3 * i + 1] = (int32_t)((large[i] >> 21 & 2097151) - 1048576);
		to[3 * i + 2] = (int32_t)((large[i] >> 42) - 1048576);
	}
}

static void put_common(const struct frame *f)
{
	const int *periodic = lammps.global(c.lmp, "periodicity");
	iog_put(c.stream, "box", f->box, NULL);
	iog_put(c.stream, "box_origin", f->origin, NULL);
	if (c.statics)
		return;
	uint8_t flags[3] = { 1, 1, 1 };
	for (int i = 0; periodic && i < 3; i++)
		flags[i] = periodic[i] != 0;
	iog_put(c.stream, "periodic", flags, NULL);
	if (c.bonds && c.bond)
		iog_put(c.stream, "bond", c.bond, NULL);
}

static void fill(const struct frame *f)
{
	if (!c.rank)
		put_common(f);
	c.statics = true;
	/* An empty part has no address. */
	static const double nothing;
	iog_put(c.stream, "position", f->n ? f->x : &nothing, NULL);
	iog_put(c.stream, "velocity", f->n ? f->v : &nothing, NULL);
	iog_put(c.stream, "type", f->n ? (const void *)f->type : &nothing, NULL);
	if (c.tag)
		iog_put(c.stream, "id", f->n ? f->id : &nothing, NULL);
	int32_t *images = iog_wanted(c.stream, "image") ? iog_fill(c.stream, "image") : NULL;
	if (images)
		unpack_images(images, f);
}

/* What a rank tells the others: its atoms, and two flags. */
enum { DEAD = 1, UNFIT = 2, FLAGS = 2 /* bits */ };

/* The same on all ranks, so one speaks. */
static void nobody_publishes(const struct frame *f, int64_t all, int tight)
{
	if (c.rank)
		return;
	if (all > c.most)
		iog_capture_lost("step %lld has %lld atoms; room was made for %lld when the first one began", (long long)f->step,
			(long long)all, (long long)c.most);
	else
		iog_capture_lost(
			"step %lld has more atoms on rank %d than room was made for when the first one began", (long long)f->step, tight);
}

/* Collective. False: the step is not to be published by this rank. */
static bool agree(const struct frame *f)
{
	int64_t said[RANKS], before = 0, all = 0;
	unsigned every = DEAD;
	int tight = -1; /* a rank that has no room */
	const int64_t mine = f->n << FLAGS | (c.code < 0 ? DEAD : 0) | (f->missing || f->n > c.room ? UNFIT : 0);
	said[0] = mine;
	if (c.nranks > 1 && mpi.allgather(&mine, 1, mpi.i64, said, 1, mpi.i64, mpi.node))
		return false;
	for (int r = 0; r < c.nranks; r++) {
		every &= (unsigned)said[r];
		tight = said[r] & UNFIT ? r : tight;
		before += r < c.rank ? said[r] >> FLAGS : 0;
		all += said[r] >> FLAGS;
	}
	if (every & DEAD)
		c.sleep = SLEEP;
	if (tight >= 0 || all > c.most) {
		nobody_publishes(f, all, tight);
		return false;
	}
	place(f->n, before, all);
	return true;
}

static bool wanted(int64_t step) { return step % iog_capture_every() == 0; }

/* Collective, once for each wanted step. */
static void publish(const struct frame *f)
{
	if (c.any && f->step <= c.last)
		c.statics = false; /* a new epoch */
	c.any = true;
	c.last = f->step;
	if (c.sleep > 0) {
		c.sleep--;
		return;
	}
	if (c.other) {
		if (!c.rank)
			iog_capture_lost("step %lld is of a system with more or fewer bonds than the %lld of the first one",
				(long long)f->step, (long long)c.bonds);
		return;
	}
	if (!agree(f))
		return;
	c.code = iog_begin(c.stream, f->step, f->time);
	if (c.code != IOG_OK)
		return;
	fill(f);
	iog_commit(c.stream);
}

/* ---- the steps of a command ---- */

/* Not published yet, and of this command. */
static bool is_new(int64_t step) { return step >= c.begun && !(c.any && step == c.last); }

static void publish_held(void)
{
	if (c.held.step >= 0)
		publish(&c.held);
	c.held.step = -1;
}

/* A minimizer goes on from here, or tries once more. */
static void hold(void *lmp, int64_t step)
{
	struct frame f;
	look(lmp, step, &f);
	const size_t bytes[5] = { 24, 24, 4, c.tag, c.img };
	const void *from[5] = { f.x, f.v, f.type, f.id, f.image };
	if (f.n > c.held_room || !c.memory[0]) {
		for (unsigned i = 0; i < 5; i++) {
			free(c.memory[i]);
			c.memory[i] = calloc((size_t)f.n + 1, bytes[i] ? bytes[i] : 1);
		}
		c.held_room = f.n;
	}
	for (unsigned i = 0; i < 5; i++) {
		if (!c.memory[i] && !f.missing) {
			iog_capture_lost("step %lld: out of memory", (long long)step);
			f.missing = true;
		}
		if (c.memory[i] && from[i] && bytes[i])
			memcpy(c.memory[i], from[i], (size_t)f.n * bytes[i]);
	}
	f.x = c.memory[0], f.v = c.memory[1], f.type = c.memory[2], f.id = c.memory[3], f.image = c.memory[4];
	c.held = f;
}

static void publish_now(void *lmp, int64_t step)
{
	struct frame f;
	look(lmp, step, &f);
	publish(&f);
}

static int64_t step_of(void *lmp) { return whole(lammps.global(lmp, "ntimestep"), c.big); }

/* Steps begin anew, maybe with another system. Bonds are static, and as many as at first. */
static void look_at_bonds(void *lmp)
{
	if (c.any && c.begun > c.last)
		return;
	c.other = c.bonds && bonds_of(lmp) != c.bonds;
	if (c.bonds && !c.other)
		gather_bonds(lmp);
}

/* Collective. False: this command is not captured. */
static bool command_begins(void *command)
{
	void *lmp = handle_of(command);
	c.runs = c.minimizes = false;
	if (!iog_capture_wanted() || !find_lammps(command))
		return false;
	if (!c.opened)
		open_stream(lmp);
	if (c.lmp != lmp)
		iog_capture_note("only the first LAMMPS of the process was captured");
	if (c.off || c.lmp != lmp)
		return false;
	c.begun = step_of(lmp);
	c.held.step = -1;
	look_at_bonds(lmp);
	return true;
}

static void command_ends(void *lmp)
{
	const int64_t step = step_of(lmp);
	if (c.held.step < step)
		publish_held();
	if (wanted(step) && is_new(step))
		publish_now(lmp, step);
	c.runs = c.minimizes = false;
}

/* ---- what is interposed ---- */

typedef void command_fn(void *self, int argc, char **argv);
typedef void step_fn(void *self, int64_t step);
command_fn _ZN9LAMMPS_NS3Run7commandEiPPc, _ZN9LAMMPS_NS8Minimize7commandEiPPc;
step_fn _ZN9LAMMPS_NS9Integrate6ev_setEl, _ZN9LAMMPS_NS3Min6ev_setEl;

/* Run::command */
void _ZN9LAMMPS_NS3Run7commandEiPPc(void *self, int argc, char **argv)
{
	static command_fn *next;
	if (!next)
		next = dlsym(library_of(self), "_ZN9LAMMPS_NS3Run7commandEiPPc");
	c.runs = command_begins(self);
	next(self, argc, argv);
	if (c.runs)
		command_ends(handle_of(self));
}

/* Minimize::command */
void _ZN9LAMMPS_NS8Minimize7commandEiPPc(void *self, int argc, char **argv)
{
	static command_fn *next;
	if (!next)
		next = dlsym(library_of(self), "_ZN9LAMMPS_NS8Minimize7commandEiPPc");
	c.minimizes = command_begins(self);
	next(self, argc, argv);
	if (c.minimizes)
		command_ends(handle_of(self));
}

/* Integrate::ev_set: a step begins, or a run is set up. */
void _ZN9LAMMPS_NS9Integrate6ev_setEl(void *self, int64_t step)
{
	static step_fn *next;
	if (!next)
		next = dlsym(library_of(self), "_ZN9LAMMPS_NS9Integrate6ev_setEl");
	if (c.runs) {
		c.steps = true;
		if (wanted(step - 1) && is_new(step - 1))
			publish_now(handle_of(self), step - 1);
	}
	next(self, step);
}

/* Min::ev_set: energy and forces are computed, several times a step. */
void _ZN9LAMMPS_NS3Min6ev_setEl(void *self, int64_t step)
{
	static step_fn *next;
	if (!next)
		next = dlsym(library_of(self), "_ZN9LAMMPS_NS3Min6ev_setEl");
	if (c.minimizes) {
		c.steps = true;
		if (c.held.step < step)
			publish_held();
		if (wanted(step) && is_new(step))
			hold(handle_of(self), step);
	}
	next(self, step);
}

static void finish(void)
{
	if (!c.opened && strstr(program_invocation_short_name, "lmp"))
		iog_capture_note("nothing was captured: no run and no minimize came by; either there was none, or LAMMPS is linked into "
				 "the program itself");
	else if (c.opened && !c.off && !c.steps)
		iog_capture_note("no step came by");
}

const struct iog_capture_library iog_capture_library = { .kind = "lammps", .finish = finish };
