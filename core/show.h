/* SPDX-License-Identifier: BSD-3-Clause */
/* Short texts of sizes, as pictures and tables show them. Pure functions, any thread. */
#ifndef IOG_CORE_SHOW_H
#define IOG_CORE_SHOW_H

#include "graph.h"

IOG_C_BEGIN

enum { IOG_SHORT = 96 };

/* Text that grows; `failed` once memory ran out. The caller frees s. */
struct iog_textbuf {
	char *s;
	size_t n, cap;
	bool failed;
};
__attribute__((format(printf, 2, 3))) void iog_textbuf_add(struct iog_textbuf *b, const char *fmt, ...);

/* "384 KiB": three significant digits. dst has IOG_SHORT bytes; returns it. */
char *iog_show_bytes(char *dst, double bytes);
/* What a record of the schema is, with its largest extent: "32000 atoms", "640 x 480 image", "54 values". */
char *iog_show_shape(char *dst, const struct iog_schema *s);
/* The value a node was given for the parameter that needs no name: `zs > 0.4`; "" when there is none. */
void iog_show_main_param(char *dst, size_t size, const struct iog_gnode *n);
/* The operator's or endpoint's own name. */
const char *iog_show_what(const struct iog_gnode *n);

IOG_C_END

#endif
