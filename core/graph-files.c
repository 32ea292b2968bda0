/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which files a graph reads and writes, as its parameter tables say: nobody else may touch one that is written, because each would
 * destroy what the other stores. Names are compared as absolute paths without needless parts, and files that are there by what they are,
 * so that links do not deceive. Hosted: asks the file system. Control path, one thread.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph-parts.h"

struct touched {
	struct iog_gnode *node;
	const char *given;
	bool writes, is_there;
	dev_t dev;
	ino_t ino;
	uint64_t hash;                 /* of path */
	char path[2 * IOG_TEXT + 256]; /* compared */
};

/* Appends the parts of s to path, which is "" or begins with a slash; "." and ".." are followed by name, not through links. */
static void add_parts(char *path, size_t size, const char *s)
{
	while (*s) {
		size_t n = 0, at = iog_strlen(path);
		while (s[n] && s[n] != '/')
			n++;
		if (n == 2 && s[0] == '.' && s[1] == '.') {
			while (at && path[at - 1] != '/')
				at--;
			path[at ? at - 1 : 0] = 0;
		} else if (n && !(n == 1 && s[0] == '.')) {
			iog_format(path + at, size - at, "/%.*s", (int)n, s);
		}
		s += n + (s[n] == '/');
	}
}

/* %06d and %d name the same file from the millionth on. */
static void drop_width(char *path)
{
	char *p = path;
	while (*p && *p != '%')
		p++;
	char *d = p + (*p == '%');
	while (*d >= '0' && *d <= '9')
		d++;
	if (*d == 'd')
		memmove(p + 1, d, iog_strlen(d) + 1);
}

static void fill(struct touched *t, struct iog_gnode *n, const struct iog_param *p)
{
	char here[256] = "";
	struct stat st;
	t->node = n;
	t->given = (const char *)n->conf + p->offset;
	t->writes = p->flags & IOG_PF_WRITES;
	t->path[0] = 0;
	if (t->given[0] != '/' && getcwd(here, sizeof here))
		add_parts(t->path, sizeof t->path, here);
	add_parts(t->path, sizeof t->path, t->given);
	if (p->flags & IOG_PF_NUMBERED)
		drop_width(t->path);
	t->hash = iog_hash(t->path, iog_strlen(t->path), 0);
	t->is_there = !stat(t->given, &st) && S_ISREG(st.st_mode);
	if (t->is_there)
		t->dev = st.st_dev, t->ino = st.st_ino;
}

static bool same_file(const struct touched *a, const struct touched *b)
{
	return (a->hash == b->hash && iog_streq(a->path, b->path)) || (a->is_there && b->is_there && a->dev == b->dev && a->ino == b->ino);
}

static void refuse(struct iog_graph *g, const struct touched *t, const struct touched *other)
{
	struct iog_gnode *n = t->node, *o = other->node;
	char where[IOG_TEXT + 32];
	n->bad = true;
	if (iog_streq(n->file, o->file))
		iog_format(where, sizeof where, "line %d", o->line);
	else
		iog_format(where, sizeof where, "%s:%d", o->file, o->line);
	if (other->writes)
		iog_graph_diag(g, n->file, n->line, false, "%s: \"%s\" is already written by %s of %s; give each a file of its own",
			n->name, t->given, o->name, where);
	else
		iog_graph_diag(g, n->file, n->line, false, "%s: \"%s\" is what %s of %s reads; write another file", n->name, t->given,
			o->name, where);
}

void iog_graph_check_files(struct iog_graph *g)
{
	struct touched *t = NULL;
	uint32_t n = 0, cap = 0;
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		struct iog_gnode *node = &g->node[i];
		for (const struct iog_param *p = iog_gnode_params(node); node->conf && p && p->name; p++) {
			if (!(p->flags & (IOG_PF_READS | IOG_PF_WRITES)) || !((const char *)node->conf)[p->offset])
				continue;
			if (n == cap) {
				struct touched *more = realloc(t, (cap = cap ? 2 * cap : 16) * sizeof *t);
				if (!more) {
					iog_graph_diag(g, node->file, node->line, false, "out of memory for the names of %u files", n);
					goto out;
				}
				t = more;
			}
			fill(&t[n++], node, p);
		}
	}
	/* The later of two is told, but a reader never: what it reads must stay. */
	for (uint32_t i = 0; i < n; i++) {
		bool told = !t[i].writes;
		for (uint32_t k = 0; !told && k < n; k++) {
			told = k != i && (k < i || !t[k].writes) && same_file(&t[i], &t[k]);
			if (told)
				refuse(g, &t[i], &t[k]);
		}
	}
out:
	free(t);
}
