/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shapes and memory of a stream that is written: where the parts lie, and the arena that is made when they are known.
 *
 * Slots: one in hand, IOG_READER_CREDIT for each lossy reader that may come, and what is left of `bytes` is credit of blocking edges, two at
 * least. So whoever may drop steps never makes the writer wait, and the arena is not larger than was declared.
 */
#include <stdlib.h>

#include "writer-private.h"

enum {
	CREDIT_MAX = 64,
	STEPS_DEFAULT = 8,
	LARGE = 1 << 20, /* arrays of such steps begin on a page: memcpy of 16 MiB takes a tenth less time then */
	PAGE = 4096,
};
static const uint64_t BYTES_DEFAULT = 64 << 20;

/* The variable called name; NULL: there is none. */
struct variable *iog_stream_variable(struct iog_stream *s, const char *name, uint32_t *v)
{
	int i = name ? iog_schema_var(&s->schema, name) : -1;
	*v = (uint32_t)i;
	if (iog_unlikely(i < 0)) {
		FAIL(s, -ENOENT, "stream %s has no variable \"%.80s\"", s->name, name ? name : "");
		return NULL;
	}
	return &s->var[i];
}

int iog_block(iog_stream *s, const char *var, const int64_t *global, const int64_t *offset, const int64_t *count)
{
	struct iog_block b = { 0 };
	struct variable *x;
	uint32_t v;
	uint64_t bytes;
	if (iog_client_forked(s->io))
		return -EBADF;
	if (s->dead && !s->early)
		return s->dead;
	if (!(x = iog_stream_variable(s, var, &v)))
		return -ENOENT;
	const struct iog_vardef *def = &s->schema.var[v];
	if (!def->rank || !global || !offset || !count)
		return FAIL(s, -EINVAL,
			"stream %s: iog_block wants a variable with dimensions, and three arrays as long as it has; %s has %u", s->name,
			var, def->rank);
	if (s->made && (s->statics >> v & 1))
		return FAIL(s, -EINVAL, "stream %s: %s is static: its part stays what it was at the first step", s->name, var);
	if (s->in_step)
		return FAIL(s, -EBUSY, "stream %s: iog_block between iog_begin and iog_commit; call it before", s->name);
	bytes = x->elem;
	for (unsigned i = 0; i < def->rank; i++) {
		const struct iog_dim *d = &s->schema.dim[def->dim[i]];
		if (global[i] < 0 || offset[i] < 0 || count[i] < 0 || offset[i] > global[i] - count[i])
			return FAIL(s, -EINVAL, "stream %s: %s: %lld elements from %lld on do not lie in the %lld of dimension %s", s->name,
				var, (long long)count[i], (long long)offset[i], (long long)global[i], d->name);
		if ((d->fixed && global[i] != d->max) || (d->max && global[i] > d->max))
			return FAIL(s, d->fixed ? -EINVAL : -EFBIG, "stream %s: %s: dimension %s has %s%lld elements, not %lld%s", s->name,
				var, d->name, d->fixed ? "" : "at most ", (long long)d->max, (long long)global[i],
				d->fixed ? "" : "; a whole that grows declares its most, as in T: f64[x<=1000]");
		if (!iog_mul(bytes, (uint64_t)count[i], &bytes) || bytes > INT64_MAX)
			return FAIL(s, -EFBIG, "stream %s: %s is larger than memory", s->name, var);
	}
	memcpy(b.start, offset, def->rank * sizeof *offset);
	memcpy(b.count, count, def->rank * sizeof *count);
	iog_block_set_dense(&b, def->rank, x->elem);
	s->block[v] = b;
	memcpy(x->global, global, def->rank * sizeof *global);
	x->bytes = bytes;
	if (!s->made)
		x->room = IOG_MAX(x->room, bytes);
	s->grown |= bytes > x->room;
	x->placed = true;
	s->shaped = true;
	return s->dead;
}

/* Extents of the axes from the shapes, which must agree. */
int iog_stream_shape(struct iog_stream *s)
{
	int64_t extent[IOG_DIMS];
	for (unsigned d = 0; d < IOG_DIMS; d++)
		extent[d] = -1;
	for (uint32_t v = 0; v < s->schema.n_vars; v++) {
		const struct iog_vardef *def = &s->schema.var[v];
		if (!s->var[v].placed)
			return FAIL(s, -EINVAL, "stream %s: where is %s? Call iog_block for it before the first step", s->name, def->name);
		for (unsigned i = 0; i < def->rank; i++) {
			int64_t *e = &extent[def->dim[i]];
			if (*e >= 0 && *e != s->var[v].global[i])
				return FAIL(s, -EINVAL, "stream %s: dimension %s has %lld elements in %s and %lld in another variable",
					s->name, s->schema.dim[def->dim[i]].name, (long long)s->var[v].global[i], def->name, (long long)*e);
			*e = s->var[v].global[i];
		}
	}
	for (unsigned d = 0; d < s->schema.n_dims; d++)
		s->rec.axis[d].extent = extent[d] < 0 ? 0 : extent[d];
	s->shaped = false;
	s->layout++;
	return 0;
}

/* Places of the variables, bytes of a slot, and how many. */
static int layout(struct iog_stream *s, struct iog_arena *a)
{
	uint64_t at = 0, statics = 0, bytes = s->bytes;
	bool fits = true;
	for (uint32_t v = 0; v < s->schema.n_vars; v++) {
		struct variable *x = &s->var[v];
		uint64_t *where = s->statics >> v & 1 ? &statics : &at;
		x->at = *where;
		fits &= iog_add(*where, x->room + IOG_ALIGN, where) && *where < UINT64_MAX / 256;
		*where = IOG_ROUND_UP(*where - IOG_ALIGN, IOG_ALIGN);
		if (fits && (s->statics >> v & 1) && !x->memory && !(x->memory = calloc(1, IOG_MAX(x->room, 1ull))))
			return FAIL(s, -ENOMEM, "stream %s: out of memory", s->name);
	}
	if (!fits)
		return FAIL(s, -EFBIG, "stream %s: a step is larger than memory", s->name);
	s->payload = at;
	const uint64_t align = at < LARGE ? IOG_LINE : PAGE;
	s->head_max = IOG_ROUND_UP(iog_wire_head_max(&s->schema, s->schema.n_vars, 1), align);
	a->static_bytes = 2 * IOG_ROUND_UP(statics, align);
	a->slot_bytes = IOG_ROUND_UP(s->head_max + s->payload, align);
	const uint64_t kept = iog_stream_lossy_max(s) + 1;
	if (!bytes)
		bytes = IOG_MAX(BYTES_DEFAULT, (STEPS_DEFAULT + kept) * a->slot_bytes);
	if (bytes / a->slot_bytes < 2)
		return FAIL(s, -EINVAL, "stream %s: bytes=%llu hold %llu steps of %llu bytes; at least 2 are needed%s", s->name,
			(unsigned long long)bytes, (unsigned long long)(bytes / a->slot_bytes), (unsigned long long)a->slot_bytes,
			s->policy == IOG_BLOCK && s->rec.writers > 1 ? ": with one, a rank that waits for room and a rank that waits for "
								       "it in a collective of MPI would stand still"
								     : "");
	const uint64_t most = s->credit_max >= 2 ? IOG_MIN(s->credit_max, (uint32_t)CREDIT_MAX) : CREDIT_MAX;
	uint32_t credit = 2;
	while (credit * 2 <= most && credit * 2 + kept <= bytes / a->slot_bytes)
		credit *= 2;
	a->n_slots = credit + (uint32_t)kept;
	a->id = s->rec.id.writer;
	return 0;
}

/* Slots that blocking edges may hold. */
static uint32_t credit_of(const struct iog_stream *s, const struct iog_arena *a) { return a->n_slots - (iog_stream_lossy_max(s) + 1); }

/* Behind the outlet in its memory: what is known of the heads in its slots. */
static uint64_t laid_at(const struct iog_arena *a) { return IOG_ROUND_UP(iog_outlet_memory(a->n_slots), IOG_ALIGN); }

/* Memory for slots of that size, and an outlet with nobody at it. */
static int arena_new(struct iog_stream *s, struct iog_arena *a, struct iog_region_map *arena, void **memory)
{
	struct iog_err err = { "" };
	*memory = calloc(1, laid_at(a) + a->n_slots * sizeof *s->laid);
	int rc = *memory ? iog_region_create(arena, "iog-arena", iog_attach_counts(iog_arena_bytes(a)) + sizeof *s->counts, 0, &err)
			 : -ENOMEM;
	if (!rc)
		return 0;
	free(*memory);
	*memory = NULL;
	return FAIL(s, rc, "stream %s: %s", s->name, err.text[0] ? err.text : "out of memory");
}

static void arena_use(struct iog_stream *s, struct iog_arena *a, struct iog_region_map *arena, void *memory)
{
	s->arena = *arena;
	s->memory = memory;
	s->laid = (uint64_t *)((uint8_t *)memory + laid_at(a));
	s->credit = credit_of(s, a);
	a->base = arena->map;
	s->counts = (struct iog_attach_counts *)(a->base + iog_attach_counts(iog_arena_bytes(a)));
	iog_outlet_init(&s->o, a, memory);
	s->view = (struct iog_region){ .base = a->base, .size = a->static_bytes, .arena = a->id };
}

void iog_stream_say_open(struct iog_stream *s)
{
	struct iog_msg m = { .kind = IOG_MSG_OPEN,
		.id = s->id,
		.a = s->rec.id.writer,
		.b = s->rec.writers,
		.epoch = s->run,
		.policy = s->policy,
		.apart = s->apart,
		.schema = s->schema };
	iog_strset(m.name, sizeof m.name, s->name);
	iog_client_say(s->io, &m, NULL, 0);
}

/* The descriptor stays: it is sent again to an agent that comes later. */
void iog_stream_say_arena(struct iog_stream *s, const struct past *p, bool stay)
{
	struct iog_msg m = { .kind = IOG_MSG_ARENA,
		.id = s->id,
		.epoch = s->epoch,
		.blocks = s->schema.n_vars,
		.a = stay,
		.b = ++s->told,
		.capacity = credit_of(s, p ? &p->o.arena : &s->o.arena),
		.arena = p ? p->o.arena : s->o.arena,
		.schema = s->schema };
	m.arena.base = NULL;
	for (unsigned i = 0; i < IOG_FANOUT; i++)
		if (s->edge[i].state == IOG_CONSUMER_LIVE)
			m.held[m.n_held++] = s->edge[i].number;
	iog_client_say(s->io, &m, p ? &p->arena.fd : &s->arena.fd, 1);
}

int iog_stream_make(struct iog_stream *s)
{
	struct iog_arena a = { 0 };
	struct iog_region_map arena;
	void *memory;
	int rc = iog_stream_shape(s);
	if (rc)
		return rc;
	if ((rc = layout(s, &a)) || (rc = arena_new(s, &a, &arena, &memory)))
		return s->dead = rc; /* another step would not be smaller, nor find more */
	/* From here on dimensions are known. */
	for (unsigned d = 0; d < s->schema.n_dims; d++)
		if (!s->schema.dim[d].max)
			s->schema.dim[d].max = IOG_MAX(s->rec.axis[d].extent, (int64_t)1);
	arena_use(s, &a, &arena, memory);
	s->made = true;
	s->grown = false;
	iog_stream_say_arena(s, NULL, false);
	iog_stream_edges_try(s);
	/* Who waits for this stream already shall have its first step, also when the agent dies meanwhile and comes again. */
	const uint64_t until = iog_now_ns() + IOG_MIN(IOG_MAX(s->timeout_ns, SLEEP_NS), START_NS);
	const bool had = s->io->sock >= 0;
	for (uint64_t now; !s->ready && (s->io->sock >= 0 || (had && s->io->again)) && (now = iog_now_ns()) < until;) {
		if (s->io->sock >= 0) {
			iog_client_hear(s->io, until - now);
			continue;
		}
		iog_wait_words(NULL, 0, IOG_MIN(until - now, SLEEP_NS));
		iog_client_look(s->io, now, SLEEP_NS);
	}
	return 0;
}

/* Room for what has outgrown its place, and half as much again: parts that grow, grow again. Not more than the whole can have. */
static void widen(struct iog_stream *s)
{
	for (uint32_t v = 0; v < s->schema.n_vars; v++) {
		const struct iog_vardef *def = &s->schema.var[v];
		struct variable *x = &s->var[v];
		uint64_t whole = x->elem;
		if (x->bytes <= x->room)
			continue;
		for (unsigned d = 0; d < def->rank; d++)
			if (!iog_mul(whole, (uint64_t)s->schema.dim[def->dim[d]].max, &whole))
				whole = UINT64_MAX;
		x->room = IOG_MIN(x->bytes + x->bytes / 2, whole);
	}
}

bool iog_stream_grown(struct iog_stream *s)
{
	s->grown = false;
	for (uint32_t v = 0; v < s->schema.n_vars; v++)
		s->grown |= s->var[v].bytes > s->var[v].room;
	return s->grown || s->renewed;
}

/* Steps in the old memory stay there: it goes when the last consumer lets go of it. */
int iog_stream_grow(struct iog_stream *s)
{
	struct iog_arena a = { 0 }, old;
	struct iog_region_map arena;
	uint64_t room[IOG_VARS];
	void *memory;
	const uint32_t epoch = s->o.epoch;
	const uint64_t passed = s->o.passed;
	for (uint32_t v = 0; v < s->schema.n_vars; v++)
		room[v] = s->var[v].room;
	widen(s);
	int rc = layout(s, &a);
	if (!rc)
		rc = arena_new(s, &a, &arena, &memory);
	if (!rc && !iog_stream_pass_on(s)) {
		rc = FAIL(s, -ENOMEM, "stream %s: out of memory", s->name);
		iog_region_close(&arena);
		free(memory);
	}
	if (rc) {
		for (uint32_t v = 0; v < s->schema.n_vars; v++)
			s->var[v].room = room[v];
		layout(s, &old);
		return rc;
	}
	s->dropped += iog_outlet_dropped(&s->o);
	arena_use(s, &a, &arena, memory);
	s->o.epoch = epoch, s->o.passed = passed;
	s->lossy = s->wide = s->spared = 0;
	s->ready = s->grown = false;
	s->renewed = s->rewant = true;
	iog_stream_say_arena(s, NULL, false);
	iog_stream_past_reap(s);
	iog_stream_edges_try(s);
	return 0;
}
