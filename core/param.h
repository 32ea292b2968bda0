/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parameters of operators and endpoints: one table each, from which they are parsed, checked, documented and completed. Values land in
 * a flat configuration struct (no pointers), which is what crosses to a process or a VM. Control path, any thread, no allocation.
 */
#ifndef IOG_CORE_PARAM_H
#define IOG_CORE_PARAM_H

#include "base.h"

IOG_C_BEGIN

/* Field types in the configuration struct stand in brackets. */
enum iog_ptype {
	IOG_P_BOOL,      /* [uint32_t] */
	IOG_P_INT,       /* [int64_t] */
	IOG_P_NUMBER,    /* [double] */
	IOG_P_STRING,    /* [char[size]] */
	IOG_P_CHOICE,    /* [uint32_t] index into the words of .choices, "a|b|c" */
	IOG_P_EXPR,      /* [char[size]] an expression; checked by the operator's plan */
	IOG_P_SIZE,      /* [uint64_t] bytes: 4096, "64KiB", "1.5 GiB" */
	IOG_P_SECONDS,   /* [double] 2, "250ms", "5s", "1min" */
	IOG_P_NUMBERS,   /* [struct iog_numbers] a list of numbers */
	IOG_P_NAMES,     /* [struct iog_names] a list of words */
	IOG_P_INTERVALS, /* [struct iog_intervals] { {lo, hi}, ... } by position, or { x = {lo, hi}, ... } by name */
};

enum { IOG_LIST_MAX = 16 };
struct iog_numbers {
	uint32_t n, pad;
	double v[IOG_LIST_MAX];
};
struct iog_names {
	uint32_t n, pad;
	char v[IOG_LIST_MAX][IOG_NAME];
};
struct iog_interval {
	char name[IOG_NAME]; /* "" when given by position */
	double lo, hi;
};
struct iog_intervals {
	uint32_t n, pad;
	struct iog_interval v[IOG_RANK];
};

enum {
	IOG_PF_REQUIRED = 1,
	IOG_PF_LIVE = 2,  /* may be bound to a live parameter and changed while records flow */
	IOG_PF_FIRST = 4, /* may be given by position: filter "x > 1", crop { roi } */
	/* Of a string in an endpoint's table that names a file; `check` sees to it that a file that is written is nobody else's. */
	IOG_PF_READS = 8,
	IOG_PF_WRITES = 16,
	IOG_PF_NUMBERED = 32, /* the name of many, with a %d in it */
};

struct iog_param {
	const char *name; /* NULL ends the table */
	uint8_t type, flags;
	uint16_t size;   /* bytes of the field, for strings */
	uint32_t offset; /* of the field in the configuration struct */
	const char *def; /* default as text, NULL: zeroed */
	const char *choices;
	const char *unit; /* shown in the documentation, NULL: none */
	double min, max;  /* for numbers, when max > min */
	const char *doc;  /* one sentence */
};

/* A value as a graph file or a command line gives it. Nested lists by pointer: kept as long as the graph. */
enum iog_vkind { IOG_V_NIL, IOG_V_BOOL, IOG_V_NUMBER, IOG_V_STRING, IOG_V_LIST };
struct iog_value {
	uint8_t kind;
	bool b, integer; /* integer: the number was written without a fraction */
	double n;
	const char *s; /* NUL-terminated */
	const struct iog_value *item;
	const char *const *key; /* item keys, NULL entries for positional ones; NULL when all are */
	uint32_t n_items;
};

/* Fills conf with the defaults of the table. conf must be zeroed by the caller. */
int iog_param_defaults(const struct iog_param *table, void *conf, struct iog_err *err);
/* Sets one parameter; the message names the parameter, what was expected and the nearest right name. 0 or -EINVAL. */
int iog_param_set(const struct iog_param *table, void *conf, const char *name, const struct iog_value *v, struct iog_err *err);
/* The table's entry or NULL. */
const struct iog_param *iog_param_find(const struct iog_param *table, const char *name);
/* The entry with IOG_PF_FIRST or NULL. */
const struct iog_param *iog_param_first(const struct iog_param *table);
/* Value of a field as text that iog_param_set would accept. Length like snprintf. */
size_t iog_param_text(const struct iog_param *p, const void *conf, char *dst, size_t size);
/* "number", "list of intervals": for messages and documentation. */
const char *iog_ptype_name(unsigned type);
/* "64KiB" -> bytes, "250ms" -> seconds. False when the text is neither a number nor a number with a known unit. */
bool iog_parse_bytes(const char *s, uint64_t *bytes);
bool iog_parse_seconds(const char *s, double *seconds);

/* Shorthand for tables: IOG_PARAM(struct conf, field, IOG_P_NUMBER, .def = "1", .doc = "..."). */
#define IOG_PARAM(conf_t, field, ptype, ...)                                                                                               \
	{                                                                                                                                  \
		.name = #field, .type = (ptype), .size = (uint16_t)sizeof(((conf_t *)0)->field),                                           \
		.offset = (uint32_t)offsetof(conf_t, field), __VA_ARGS__                                                                   \
	}

IOG_C_END

#endif
