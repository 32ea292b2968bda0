/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The synthetic source: a particle system, a field or an image made from a counter-based hash, for tests and benches. Record k is a
 * function of the parameters and k alone, so it is the same in every run, on every machine. Runs on its I/O thread.
 */
#include "runtime/host/endpoint.h"
#include "runtime/host/endpoints/endpoint-util.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { PARTICLES, FIELD, IMAGE };

struct conf {
	uint32_t mode, varying;
	int64_t atoms, steps, every, types, seed, restart;
	double rate, dt, motion, nan, inf;
	struct iog_numbers box, shape;
};

static const struct iog_param params[] = {
	IOG_PARAM(struct conf, mode, IOG_P_CHOICE, .flags = IOG_PF_FIRST, .def = "particles", .choices = "particles|field|image",
		.doc = "What the records hold."),
	IOG_PARAM(struct conf, atoms, IOG_P_INT, .def = "1000", .min = 0, .max = 1 << 30, .doc = "Particles."),
	IOG_PARAM(struct conf, steps, IOG_P_INT, .def = "0", .min = 0, .max = 1e15, .doc = "Records until the end; 0: no end."),
	IOG_PARAM(struct conf, every, IOG_P_INT, .def = "1", .min = 1, .max = 1e9, .doc = "Steps from one record to the next."),
	IOG_PARAM(struct conf, rate, IOG_P_NUMBER, .def = "0", .min = 0, .max = 1e9, .unit = "1/s",
		.doc = "Records a second, at most; 0: as fast as they are taken."),
	IOG_PARAM(struct conf, dt, IOG_P_NUMBER, .def = "0.005", .min = -1e30, .max = 1e30, .doc = "Time of one step."),
	IOG_PARAM(struct conf, seed, IOG_P_INT, .def = "1", .min = 0, .max = 9e15, .doc = "Another seed, other values."),
	IOG_PARAM(struct conf, motion, IOG_P_NUMBER, .def = "0.01", .min = -1e6, .max = 1e6,
		.doc = "How far a particle of velocity 1 moves per record; 0: nothing moves."),
	IOG_PARAM(struct conf, box, IOG_P_NUMBERS,
		.doc = "Edge lengths of the periodic cell, one or three numbers; none: a cube with 0.8 particles per unit volume."),
	IOG_PARAM(struct conf, types, IOG_P_INT, .def = "2", .min = 1, .max = 1 << 20, .doc = "Particle types, numbered from 1."),
	IOG_PARAM(struct conf, varying, IOG_P_BOOL, .def = "false",
		.doc = "Every record leaves out other particles, up to a quarter of them; `id` then says which are there."),
	IOG_PARAM(struct conf, nan, IOG_P_NUMBER, .def = "0", .min = 0, .max = 1,
		.doc = "Fraction of positions or field values that are NaN."),
	IOG_PARAM(struct conf, inf, IOG_P_NUMBER, .def = "0", .min = 0, .max = 1,
		.doc = "Fraction that is infinite, half of them negative; nan comes first."),
	IOG_PARAM(struct conf, shape, IOG_P_NUMBERS,
		.doc = "Extents of a field (z, y, x or y, x) or an image (y, x), slowest first; none: 32 cubed, or 480 by 640."),
	IOG_PARAM(struct conf, restart, IOG_P_INT, .def = "0", .min = 0, .max = 1e15,
		.doc = "Start again at step 0, as a new epoch, after this many records; 0: never."),
	{ .name = NULL },
};

/* The finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014) over a counter: nothing to carry from record to record. */
static inline uint64_t mix(uint64_t seed, uint64_t i)
{
	uint64_t z = seed * 0xda942042e4dd58b5u + i * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}
static inline double unit(uint64_t h) { return (double)(h >> 11) * 0x1p-53; }

struct synthetic {
	struct conf conf;
	struct iog_schema schema;
	struct iog_pace pace;
	int64_t k; /* records so far */
	uint32_t epochs, base_epoch;
	bool begun;
	double edge[3], cell[9];
	int64_t shape[3];
	unsigned rank;
	float *start, *velocity; /* [atoms][3]: fractions of the box; in units of motion */
	int32_t *type;
	double *mass;
	int v_position, v_velocity, v_type, v_mass, v_id, v_box, v_temperature, v_field, v_image;
};

static void box_edges(const struct conf *c, double edge[3])
{
	double cube = c->atoms ? cbrt((double)c->atoms / 0.8) : 1;
	for (unsigned d = 0; d < 3; d++)
		edge[d] = c->box.n == 3 ? c->box.v[d] : c->box.n == 1 ? c->box.v[0] : cube;
}

/* Extents of the field or the image; 0 or -EINVAL. */
static int extents(const struct conf *c, int64_t shape[3], unsigned *rank, struct iog_err *err)
{
	static const int64_t field[3] = { 32, 32, 32 }, image[2] = { 480, 640 };
	*rank = c->shape.n ? c->shape.n : c->mode == FIELD ? 3 : 2;
	if (*rank != 2 && !(*rank == 3 && c->mode == FIELD))
		return iog_fail(err, -EINVAL, "\"shape\" of %s must have %s numbers, got %u", c->mode == FIELD ? "a field" : "an image",
			c->mode == FIELD ? "2 or 3" : "2", *rank);
	uint64_t n = 24; /* bytes an element takes, at most; a record of more than 2^40 bytes is a slip */
	for (unsigned d = 0; d < *rank; d++) {
		double v = c->shape.n ? c->shape.v[d] : (double)(c->mode == FIELD ? field[d] : image[d]);
		if (!(v >= 1 && v <= 1e12) || v != floor(v))
			return iog_fail(err, -EINVAL, "\"shape\" must hold whole numbers of 1 or more, got %g", v);
		shape[d] = (int64_t)v;
		if (!iog_mul(n, (uint64_t)shape[d], &n) || n > 1ull << 40)
			return iog_fail(err, -EINVAL, "\"shape\" asks for more than 2^40 bytes a record; make it smaller");
	}
	return 0;
}

static int add(struct iog_schema *s, const char *name, enum iog_dtype t, unsigned rank, const uint8_t *dims, const char *u, bool fixed)
{
	int v = iog_schema_add_var(s, name, t, rank, dims, u);
	if (v >= 0 && fixed)
		s->var[v].flags |= IOG_VAR_STATIC;
	return v < 0 ? v : 0;
}

static int describe_particles(const struct conf *c, struct iog_schema *s, struct iog_err *err)
{
	double edge[3];
	if (c->box.n != 0 && c->box.n != 1 && c->box.n != 3)
		return iog_fail(err, -EINVAL, "\"box\" must have 1 or 3 numbers, got %u", c->box.n);
	box_edges(c, edge);
	for (unsigned d = 0; d < 3; d++)
		if (!(edge[d] > 0 && edge[d] < 1e15))
			return iog_fail(err, -EINVAL, "\"box\" must hold lengths greater than 0, got %g", edge[d]);
	/* A maximum of 0 would mean that it is not known. */
	int atom = iog_schema_add_dim(s, "atom", c->atoms ? c->atoms : 1, !c->varying && c->atoms),
	    xyz = iog_schema_add_dim(s, "xyz", 3, true);
	int cell = iog_schema_add_dim(s, "cell", 3, true);
	if (atom < 0 || xyz < 0 || cell < 0)
		return -ENOSPC;
	iog_strset(s->dim[xyz].labels, IOG_NAME, "x,y,z");
	iog_strset(s->dim[cell].labels, IOG_NAME, "a,b,c");
	const uint8_t ax[2] = { (uint8_t)atom, (uint8_t)xyz }, cx[2] = { (uint8_t)cell, (uint8_t)xyz };
	int r = add(s, "position", IOG_F32, 2, ax, "Angstrom", false);
	r |= add(s, "velocity", IOG_F32, 2, ax, "Angstrom/ps", false);
	r |= add(s, "type", IOG_I32, 1, ax, "", !c->varying);
	r |= add(s, "mass", IOG_F64, 1, ax, "u", !c->varying);
	if (c->varying)
		r |= add(s, "id", IOG_I64, 1, ax, "", false);
	r |= add(s, "box", IOG_F64, 2, cx, "Angstrom", false);
	r |= add(s, "temperature", IOG_F64, 0, NULL, "K", false);
	return r;
}

static int describe_grid(const struct conf *c, struct iog_schema *s, struct iog_err *err)
{
	static const char *const name[3] = { "z", "y", "x" };
	int64_t shape[3];
	unsigned rank;
	uint8_t dims[3];
	int r = extents(c, shape, &rank, err);
	if (r < 0)
		return r;
	for (unsigned d = 0; d < rank; d++) {
		int i = iog_schema_add_dim(s, name[3 - rank + d], shape[d], true);
		if (i < 0)
			return i;
		dims[d] = (uint8_t)i;
	}
	if (c->mode == FIELD)
		return add(s, "field", IOG_F64, rank, dims, "", false);
	int rgb = iog_schema_add_dim(s, "rgb", 3, true);
	if (rgb < 0)
		return rgb;
	iog_strset(s->dim[rgb].labels, IOG_NAME, "r,g,b");
	dims[2] = (uint8_t)rgb;
	return add(s, "image", IOG_U8, 3, dims, "", false);
}

static int describe(const void *conf, struct iog_schema *s, struct iog_err *err)
{
	const struct conf *c = conf;
	*s = (struct iog_schema){ 0 };
	err->text[0] = 0;
	int r = c->mode == PARTICLES ? describe_particles(c, s, err) : describe_grid(c, s, err);
	if (r)
		return err->text[0] ? -EINVAL : iog_fail(err, -EINVAL, "cannot make the schema");
	return iog_schema_seal(s, err);
}

static void finish(void *self)
{
	struct synthetic *s = self;
	if (!s)
		return;
	iog_pace_finish(&s->pace);
	free(s->start);
	free(s->velocity);
	free(s->type);
	free(s->mass);
	free(s);
}

static int make_particles(struct synthetic *s, struct iog_err *err)
{
	size_t n = (size_t)s->conf.atoms;
	uint64_t seed = (uint64_t)s->conf.seed;
	s->start = calloc(n + 1, 3 * sizeof(float));
	s->velocity = calloc(n + 1, 3 * sizeof(float));
	s->type = calloc(n + 1, sizeof *s->type);
	s->mass = calloc(n + 1, sizeof *s->mass);
	if (!s->start || !s->velocity || !s->type || !s->mass)
		return iog_fail(err, -ENOMEM, "no memory for %zu particles", n);
	box_edges(&s->conf, s->edge);
	for (unsigned d = 0; d < 3; d++)
		s->cell[4 * d] = s->edge[d];
	for (size_t i = 0; i < n; i++) {
		for (unsigned d = 0; d < 3; d++) {
			s->start[3 * i + d] = (float)unit(mix(seed, 8 * i + d));
			s->velocity[3 * i + d] = (float)(2 * unit(mix(seed, 8 * i + 3 + d)) - 1);
		}
		s->type[i] = (int32_t)(1 + mix(seed, 8 * i + 6) % (uint64_t)s->conf.types);
		s->mass[i] = s->type[i];
	}
	return 0;
}

static int begin(const void *conf, const struct iog_schema *schema, void **self, struct iog_err *err)
{
	struct synthetic *s = calloc(1, sizeof *s);
	if (!s)
		return iog_fail(err, -ENOMEM, "no memory");
	s->conf = *(const struct conf *)conf;
	s->schema = *schema;
	s->pace.fd = -1;
	const struct {
		const char *name;
		int *v;
	} find[] = { { "position", &s->v_position }, { "velocity", &s->v_velocity }, { "type", &s->v_type }, { "mass", &s->v_mass },
		{ "id", &s->v_id }, { "box", &s->v_box }, { "temperature", &s->v_temperature }, { "field", &s->v_field },
		{ "image", &s->v_image } };
	for (size_t i = 0; i < IOG_COUNT(find); i++)
		*find[i].v = iog_schema_var(schema, find[i].name);
	int r = iog_pace_init(&s->pace, s->conf.rate, err);
	if (!r)
		r = s->conf.mode == PARTICLES ? make_particles(s, err) : extents(&s->conf, s->shape, &s->rank, err);
	if (r < 0) {
		finish(s);
		return r;
	}
	*self = s;
	return 0;
}

/* Replaces some values by what is none, by the lower half of hash h; thresholds are fractions of 2^32. */
struct odd {
	uint64_t nan, inf;
};
static struct odd odd_make(const struct conf *c)
{
	uint64_t nan = (uint64_t)(c->nan * 0x1p32);
	return (struct odd){ nan, nan + (uint64_t)(c->inf * 0x1p32) };
}
static inline double odd_value(struct odd o, uint64_t h, double v)
{
	uint64_t k = h & 0xffffffff;
	return k < o.nan ? (double)NAN : k >= o.inf ? v : k & 1 ? -(double)INFINITY : (double)INFINITY;
}

/* Where a coordinate is after `moved` box lengths: 0 <= result < edge, also after rounding to float. */
static inline float wrap(double frac, double moved, double edge)
{
	double f = frac + moved;
	float p = (float)((f - floor(f)) * edge);
	return p < (float)edge ? p : 0;
}

/* Room for variable v, when the schema has it. False: no room. */
static bool room(struct iog_out *o, int v, unsigned rank, uint32_t size, const int64_t *count, void *p)
{
	if (v < 0)
		return true;
	void *q = iog_out_dense(o, (unsigned)v, rank, size, count);
	memcpy(p, &q, sizeof q);
	return q;
}

static enum iog_step particles(struct synthetic *s, struct iog_out *o, int64_t k)
{
	const struct conf *c = &s->conf;
	int64_t n = c->atoms, kept = 0;
	const int64_t nx[2] = { n, 3 }, cx[2] = { 3, 3 };
	uint64_t record = mix((uint64_t)c->seed ^ 0x5bd1e995, (uint64_t)k);
	uint64_t left_out = c->varying ? (uint64_t)(unit(record) * 0x1p30) : 0;
	struct odd odd = odd_make(c);
	float *x = NULL, *v = NULL;
	int64_t *id = NULL;
	int32_t *type = NULL;
	double *mass = NULL, *box = NULL, *temperature = NULL, by[3], sum = 0;
	/* Room for all of them; how many there are is known at the end. */
	if (!room(o, s->v_position, 2, 4, nx, &x) || !room(o, s->v_velocity, 2, 4, nx, &v) || !room(o, s->v_box, 2, 8, cx, &box) ||
		!room(o, s->v_temperature, 0, 8, NULL, &temperature))
		return IOG_NO_SPACE;
	if (c->varying) {
		if (!room(o, s->v_id, 1, 8, nx, &id) || !room(o, s->v_type, 1, 4, nx, &type) || !room(o, s->v_mass, 1, 8, nx, &mass))
			return IOG_NO_SPACE;
	} else if ((s->v_type >= 0 && !iog_out_kept(o, s->v_type, 1, 4, n, 0, s->type)) ||
		   (s->v_mass >= 0 && !iog_out_kept(o, s->v_mass, 1, 8, n, 0, s->mass))) {
		return IOG_NO_SPACE;
	}
	for (unsigned d = 0; d < 3; d++)
		by[d] = c->motion * (double)k / s->edge[d];
	for (int64_t i = 0; i < n; i++) {
		uint64_t h = left_out || odd.inf ? mix(record, (uint64_t)i) : 0;
		if (left_out && (h >> 32) < left_out)
			continue;
		const float *f = s->start + 3 * i, *w = s->velocity + 3 * i;
		for (unsigned d = 0; x && d < 3; d++)
			x[3 * kept + d] = wrap((double)f[d], (double)w[d] * by[d], s->edge[d]);
		if (x && odd.inf)
			x[3 * kept] = (float)odd_value(odd, h, (double)x[3 * kept]);
		if (v)
			memcpy(v + 3 * kept, w, 3 * sizeof *w);
		sum += (double)(w[0] * w[0]) + (double)(w[1] * w[1]) + (double)(w[2] * w[2]);
		if (id)
			id[kept] = i + 1;
		if (type)
			type[kept] = s->type[i];
		if (mass)
			mass[kept] = s->mass[i];
		kept++;
	}
	int atom = iog_schema_dim(&s->schema, "atom");
	if (atom >= 0)
		o->rec.axis[atom].extent = kept;
	const int counted[] = { s->v_position, s->v_velocity, s->v_id, s->v_type, s->v_mass };
	for (size_t i = 0; c->varying && i < IOG_COUNT(counted); i++)
		if (counted[i] >= 0)
			o->block[o->rec.var[counted[i]].block - o->block].count[0] = kept;
	if (box)
		memcpy(box, s->cell, sizeof s->cell);
	if (temperature)
		*temperature = kept ? sum / (3 * (double)kept) : 0;
	return IOG_OK;
}

static enum iog_step field(struct synthetic *s, struct iog_out *o, int64_t k)
{
	double *p;
	if (s->v_field < 0)
		return IOG_OK;
	if (!room(o, s->v_field, s->rank, 8, s->shape, &p))
		return IOG_NO_SPACE;
	uint64_t seed = mix((uint64_t)s->conf.seed, 0x66696c64);
	struct odd odd = odd_make(&s->conf);
	int64_t nx = s->shape[s->rank - 1], ny = s->shape[s->rank - 2], nz = s->rank == 3 ? s->shape[0] : 1;
	/* A smooth hill that wanders along x, and noise of a tenth of its height. */
	double centre = fmod((double)k * (1 + fabs(s->conf.motion)), (double)nx);
	for (int64_t z = 0; z < nz; z++)
		for (int64_t y = 0; y < ny; y++)
			for (int64_t x = 0; x < nx; x++, p++) {
				double dx = ((double)x - centre) / (double)nx, dy = ((double)y + 0.5) / (double)ny - 0.5;
				double dz = ((double)z + 0.5) / (double)nz - 0.5;
				uint64_t h = mix(seed + (uint64_t)k, (uint64_t)((z * ny + y) * nx + x));
				*p = odd_value(odd, h, 100 / (1 + 16 * (dx * dx + dy * dy + dz * dz)) + 10 * unit(h));
			}
	return IOG_OK;
}

static enum iog_step image(struct synthetic *s, struct iog_out *o, int64_t k)
{
	const int64_t count[3] = { s->shape[0], s->shape[1], 3 };
	uint8_t *p;
	if (s->v_image < 0)
		return IOG_OK;
	if (!room(o, s->v_image, 3, 1, count, &p))
		return IOG_NO_SPACE;
	/* A gradient that moves, and tiles of 16 pixels of hashed brightness: neither flat nor noise to an encoder. */
	uint64_t seed = mix((uint64_t)s->conf.seed, 0x696d6167);
	for (int64_t y = 0; y < count[0]; y++)
		for (int64_t x = 0; x < count[1]; x++, p += 3) {
			uint64_t h = mix(seed, (uint64_t)(y / 16) << 32 | (uint64_t)((x + 4 * k) / 16)) & 63;
			p[0] = (uint8_t)(x + k);
			p[1] = (uint8_t)(y + 2 * k);
			p[2] = (uint8_t)(h + (uint64_t)(((x + y) >> 2) & 127));
		}
	return IOG_OK;
}

static enum iog_step next(void *self, struct iog_out *o, uint64_t limit_ns, struct iog_err *err)
{
	struct synthetic *s = self;
	const struct conf *c = &s->conf;
	err->text[0] = 0;
	if (c->steps && s->k >= c->steps)
		return IOG_FATAL;
	if (!iog_pace_wait(&s->pace, limit_ns))
		return IOG_HOLD;
	if (!s->begun)
		s->base_epoch = o->rec.id.epoch, s->begun = true;
	int64_t k = c->restart ? s->k % c->restart : s->k;
	if (c->restart)
		s->epochs = (uint32_t)(s->k / c->restart);
	o->used = 0, o->n_blocks = 0;
	o->rec.schema = &s->schema;
	o->rec.step = k * c->every;
	o->rec.time = (double)o->rec.step * c->dt;
	o->rec.id.epoch = s->base_epoch + s->epochs;
	o->rec.id.seq = iog_seq_of_step(o->rec.step);
	o->rec.flags = 0;
	for (uint32_t d = 0; d < s->schema.n_dims; d++)
		o->rec.axis[d] = (struct iog_axis){ .extent = s->schema.dim[d].max, .spacing = 1 };
	memset(o->rec.var, 0, s->schema.n_vars * sizeof o->rec.var[0]);
	enum iog_step r = c->mode == PARTICLES ? particles(s, o, k) : c->mode == FIELD ? field(s, o, k) : image(s, o, k);
	if (r != IOG_OK) {
		iog_fail(err, 0, "the record does not fit the %llu bytes it was given", (unsigned long long)o->size);
		return r;
	}
	s->k++;
	iog_pace_sent(&s->pace);
	return IOG_OK;
}

static void wake(void *self) { iog_pace_wake(&((struct synthetic *)self)->pace); }

extern const struct iog_source iog_source_synthetic;
const struct iog_source iog_source_synthetic = {
	.name = "synthetic",
	.summary = "Makes particles, a field or images from a hash: the same in every run, for tests and benches",
	.params = params,
	.conf_size = sizeof(struct conf),
	.describe = describe,
	.open = begin,
	.next = next,
	.close = finish,
	.wake = wake,
};
