/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A schema says what a stream's records hold: named variables over named dimensions, with types and units. Extents come with each
 * record; a declared maximum bounds them, so that every buffer is sized before the first record. A schema is flat (no pointers):
 * copying it is assignment, and it crosses processes, VMs and wires as it is. Pure functions, any thread.
 */
#ifndef IOG_CORE_SCHEMA_H
#define IOG_CORE_SCHEMA_H

#include "base.h"

IOG_C_BEGIN

struct iog_dim {
	char name[IOG_NAME];
	char labels[IOG_NAME]; /* names of its indices, "x,y,z"; "" when they have none */
	int64_t max;           /* no record has a larger extent; 0: not known yet */
	uint32_t fixed;        /* 1: every record has exactly max */
	uint32_t pad;
};

enum {
	IOG_VAR_STATIC = 1, /* the same bytes for a whole epoch: written once, referred to by every record */
};

struct iog_vardef {
	char name[IOG_NAME];
	char unit[IOG_NAME];
	uint8_t dtype; /* enum iog_dtype of an element; before an opaque encoding was applied */
	uint8_t rank;  /* 0: one value per record, an attribute */
	uint8_t flags; /* IOG_VAR_* */
	uint8_t orig;  /* dtype before IOG_CODEC_DELTA, else IOG_NONE */
	uint8_t n_codecs;
	uint8_t codec[IOG_CODECS]; /* enum iog_codec in the order applied; the last one is undone first */
	uint8_t dim[IOG_RANK];     /* indices into iog_schema.dim, slowest first (C order) */
	uint8_t pad[7];
};

struct iog_schema {
	uint64_t id; /* hash of the canonical text; 0 only in a schema under construction */
	uint32_t n_dims, n_vars;
	struct iog_dim dim[IOG_DIMS];
	struct iog_vardef var[IOG_VARS];
};

/* A component of a variable: column `index` along its last dimension; `x` of position, `vx` of velocity. */
struct iog_component {
	int32_t var;   /* -1: not found */
	int32_t index; /* -1: the whole variable */
	bool scaled;   /* xs, ys, zs: the coordinate in units of the box, 0..1 */
};

/*
 * Text form, one declaration each separated by ';' or newline:
 *     [static] name: dtype[dim, dim...] unit
 * `f32[atom, xyz] Angstrom`. A dimension may carry its extent, `xyz=3` (exact) or `atom<=32000` (maximum), at its first use.
 * xyz, cell and rgb are known: 3 long, labelled x,y,z / a,b,c / r,g,b. Returns 0 or -EINVAL with a message that quotes the place.
 * The schema is sealed.
 */
int iog_schema_parse(struct iog_schema *s, const char *text, struct iog_err *err);
/* Canonical text, one declaration a line, and the round trip of iog_schema_parse for schemas without codecs. Returns its length
 * (like snprintf). Maxima are left out when `extents` is false: that text is what the id hashes. */
size_t iog_schema_text(const struct iog_schema *s, bool extents, char *dst, size_t size);
/* Checks every field (names, ranks, indices, counts; the schema may come from another process) and sets id. 0 or -EINVAL. */
int iog_schema_seal(struct iog_schema *s, struct iog_err *err);

/* Index or -1. */
int iog_schema_dim(const struct iog_schema *s, const char *name);
int iog_schema_var(const struct iog_schema *s, const char *name);
/* Index of the dimension, added when it is not there (max 0: unknown). -ENOSPC when the table is full, -EINVAL for a bad name. */
int iog_schema_add_dim(struct iog_schema *s, const char *name, int64_t max, bool fixed);
/* Index of a new variable over dims (indices); -EEXIST, -ENOSPC, -EINVAL. The schema must be sealed afterwards. */
int iog_schema_add_var(struct iog_schema *s, const char *name, enum iog_dtype dtype, unsigned rank, const uint8_t *dims, const char *unit);
/* Removes variable i and dimensions no variable uses any more. */
void iog_schema_drop_var(struct iog_schema *s, unsigned i);

/* Resolves a variable, `position.x`, or an alias: x y z (position), xs ys zs (scaled position), vx vy vz (velocity), fx fy fz (force),
 * ix iy iz (image). */
struct iog_component iog_schema_component(const struct iog_schema *s, const char *name, size_t len);

/* Largest bytes of variable i when decoded, from the declared maxima. Returns false (and 0) when a maximum is not known or the size
 * does not fit 63 bits. */
bool iog_schema_var_max(const struct iog_schema *s, unsigned i, uint64_t *bytes);
/* Sum over the non-static variables (or the static ones), each rounded up to IOG_ALIGN. */
bool iog_schema_payload_max(const struct iog_schema *s, bool statics, uint64_t *bytes);

/* "rgb8 image": variable i is u8[y,x,rgb]-like (rank 3, last dimension fixed 3). */
static inline bool iog_var_is_rgb(const struct iog_schema *s, unsigned i)
{
	const struct iog_vardef *v = &s->var[i];
	return v->dtype == IOG_U8 && v->rank == 3 && s->dim[v->dim[2]].fixed && s->dim[v->dim[2]].max == 3;
}
static inline bool iog_var_opaque(const struct iog_vardef *v) { return v->n_codecs && iog_codec_opaque(v->codec[v->n_codecs - 1]); }

IOG_C_END

#endif
