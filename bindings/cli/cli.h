/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the commands of `iog` share: the table of commands, options, text tables, figures with units, loading a graph. One thread.
 */
#ifndef IOG_BINDINGS_CLI_CLI_H
#define IOG_BINDINGS_CLI_CLI_H

#include <stdio.h>

#include "core/show.h"

/* Exit codes. */
enum { IOG_EXIT_OK, IOG_EXIT_FAILED, IOG_EXIT_USAGE };

struct iog_cli_opt {
	const char *name;  /* "steps"; NULL ends the table */
	char letter;       /* 'o'; 0: none */
	const char *value; /* what it takes, as the help names it; NULL: nothing */
	const char *doc;
};
struct iog_cli_cmd {
	const char *name, *args, *summary;
	const char *about;    /* paragraphs of the help */
	const char *examples; /* lines of the help */
	const struct iog_cli_opt *opt;
	int (*run)(int argc, char **argv); /* argv[0]: the command's name; returns an exit code */
};
/* NULL-terminated, in iog.c. */
extern const struct iog_cli_cmd *const iog_cli_cmds[];

/* ---- options ---- */

struct iog_cli_args {
	const struct iog_cli_cmd *cmd;
	int argc, at;
	char **argv;
	const char *value; /* of the option, or the argument */
	bool only_args;    /* after -- */
	bool done;         /* help was printed, or a mistake was reported: return `code` */
	int code;
};
enum { IOG_ARG_END = -1, IOG_ARG_POSITIONAL = -2 };
/* The next option as an index into cmd->opt, IOG_ARG_POSITIONAL, or IOG_ARG_END; look at `done` after the end. */
int iog_cli_next(struct iog_cli_args *a);
/* Reports a mistake in the command line, points to the help; returns IOG_EXIT_USAGE. */
__attribute__((format(printf, 2, 3))) int iog_cli_usage(const struct iog_cli_cmd *cmd, const char *fmt, ...);
/* A whole number >= least; false after reporting. */
bool iog_cli_number(struct iog_cli_args *a, const char *option, uint64_t least, uint64_t *n);
void iog_cli_help(const struct iog_cli_cmd *cmd);

/* ---- output ---- */

/* True when f is a terminal that may be coloured (NO_COLOR and TERM=dumb are respected). */
bool iog_cli_colour(FILE *f);
/* Prints text that came from somewhere else: with '?' for control characters other than the end of a line and tabs. */
__attribute__((format(printf, 2, 3))) void iog_cli_print(FILE *f, const char *fmt, ...);
/* Heading in bold on a terminal. */
void iog_cli_head(const char *text);

/* A text of a figure with its unit; buffers of IOG_FIGURE bytes. */
enum { IOG_FIGURE = IOG_SHORT };
char *iog_cli_count(char *dst, double n);
char *iog_cli_seconds(char *dst, double s);
/* "1234 records/s"; "-" when the time is too short to say. */
char *iog_cli_rate(char *dst, double n, double seconds, const char *what);

/* A table that is as wide as its contents. Cells are copied, with '?' for control characters; a column whose cells are all "" or "-" and that is optional is left out. */
struct iog_cli_table;
struct iog_cli_col {
	const char *head;
	bool right, optional;
};
struct iog_cli_table *iog_cli_table_new(const struct iog_cli_col *col, unsigned n);
void iog_cli_table_cell(struct iog_cli_table *t, const char *text);
/* Prints and frees; f NULL: only frees. */
void iog_cli_table_print(struct iog_cli_table *t, FILE *f, const char *indent);
/* Prints text wrapped at 100 columns, every line after `indent`. */
void iog_cli_wrap(FILE *f, const char *indent, const char *text);

/* ---- graphs ---- */

struct iog_cli_graph {
	struct iog_graph *g;
	struct iog_cut cut;
};
struct iog_lua_set;
/* Loads, checks and cuts; prints every mistake as file:line: text, sorted. IOG_EXIT_OK or IOG_EXIT_FAILED (nothing to free then). */
int iog_cli_load(struct iog_cli_graph *cg, const char *path, struct iog_lua_set *set, uint32_t n_set, enum iog_target target);
/* The same, and prints nothing: 0 or -errno. Unload it in either case; g is NULL when memory is out. */
int iog_cli_open(struct iog_cli_graph *cg, const char *path, struct iog_lua_set *set, uint32_t n_set, enum iog_target target);
/* Mistakes and warnings, sorted by file and line, each once; free() the list. NULL: out of memory. */
const struct iog_diag **iog_cli_diags(const struct iog_graph *g, uint32_t *n);
void iog_cli_unload(struct iog_cli_graph *cg);
/* Prints what is wrong with a graph, sorted by place. */
void iog_cli_show_diags(const struct iog_graph *g);
/* The name a graph has by default: of "dir/heat.lua" that is heat. */
void iog_cli_graph_name(const char *path, char *name, size_t size);
/* Splits name=value (in place) onto the list; false after reporting. */
enum { IOG_CLI_SETS = 256 };
bool iog_cli_set(struct iog_cli_args *a, struct iog_lua_set *set, uint32_t *n);
/* The target of that name among host, sidecore, vm; false after reporting. */
bool iog_cli_target(struct iog_cli_args *a, enum iog_target *t);

/* A graph of the agent at this socket waits for a stream; false also when no agent answers. */
bool iog_cli_graph_waits(const char *where);

/* A FIFO that is read and published (capture-fifo.c): what the one who started it holds. */
struct iog_cli_fifo {
	int life; /* inherited by the program: the reader ends when nobody has it open any more */
	int gone; /* ends when the reader has */
};
/* Makes the FIFO, if there is none, and starts its reader. What goes wrong it says; the exit code. */
int iog_cli_fifo_start(struct iog_cli_fifo *f, const char *path, const char *stream, const char *socket);
/* The program has ended: waits until what it wrote is published. */
void iog_cli_fifo_end(struct iog_cli_fifo *f);

/* Stdout, flushed; false with a message when it could not be written. */
bool iog_cli_flush(void);
/* Prints and frees JSON; an exit code. NULL: out of memory. */
struct json_t;
int iog_cli_json(struct json_t *j);
/* A JSON string; what is not UTF-8 (a file's name may be anything) becomes '?'. */
struct json_t *iog_cli_text(const char *text);

#endif
