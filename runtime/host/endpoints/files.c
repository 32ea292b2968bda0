/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sink "files": puts captured files back together below a folder (bindings/capture/files.h says what is in a record). Each piece is written at its
 * place, so a copy is byte for byte what the program wrote, whatever order ranks came in. A file that is there already is written over, not
 * emptied, unless the program emptied it.
 *
 * Paths come from other programs: nothing outside the folder is touched, links are not followed. Runs on its I/O thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/host/endpoint.h"
#include "runtime/host/endpoints/endpoint-util.h"

enum { OPEN_MAX = 64, PATH = 1024 };

struct conf {
	char folder[IOG_TEXT];
};

static const struct iog_param params[] = {
	IOG_PARAM(struct conf, folder, IOG_P_STRING, .flags = IOG_PF_FIRST | IOG_PF_REQUIRED | IOG_PF_WRITES,
		.doc = "Where the copies go, by the names of the captured files; folders are made."),
	{ .name = NULL },
};

/* The variables of a record. */
enum { V_PATH, V_SIZE, V_OFFSET, V_LENGTH, V_DATA, VARIABLES };
static const struct {
	const char *name;
	uint8_t dtype, rank;
} wanted[VARIABLES] = {
	[V_PATH] = { "path", IOG_U8, 1 },
	[V_SIZE] = { "size", IOG_I64, 0 },
	[V_OFFSET] = { "offset", IOG_I64, 1 },
	[V_LENGTH] = { "length", IOG_I64, 1 },
	[V_DATA] = { "data", IOG_U8, 1 },
};

struct file {
	int fd;
	uint64_t used; /* when */
	char path[PATH];
};
struct files {
	struct conf conf;
	int folder;
	uint32_t var[VARIABLES];
	uint64_t now;
	struct file file[OPEN_MAX];
};

static int find(const struct iog_schema *in, uint32_t var[VARIABLES], struct iog_err *err)
{
	for (unsigned i = 0; i < VARIABLES; i++) {
		const int v = iog_schema_var(in, wanted[i].name);
		if (v < 0 || in->var[v].dtype != wanted[i].dtype || in->var[v].rank != wanted[i].rank || in->var[v].n_codecs)
			return iog_fail(err, -EINVAL,
				"wants records of captured files (iog capture --as mpiio or stdio), with \"%s\" as %s%s; decompress first "
				"what was "
				"compressed",
				wanted[i].name, iog_dtype_name(wanted[i].dtype), wanted[i].rank ? " of one dimension" : "");
		var[i] = (uint32_t)v;
	}
	return 0;
}

static int accept_schema(const void *conf, const struct iog_schema *in, struct iog_err *err)
{
	uint32_t var[VARIABLES];
	(void)conf;
	return find(in, var, err);
}

static int finish(void *self, struct iog_err *err)
{
	struct files *s = self;
	int rc = 0;
	for (unsigned i = 0; i < OPEN_MAX; i++)
		if (s->file[i].fd >= 0 && close(s->file[i].fd) < 0)
			rc = iog_fail_write(err, -errno, s->file[i].path);
	if (s->folder >= 0)
		close(s->folder);
	free(s);
	return rc;
}

static int begin(const void *conf, const struct iog_schema *in, void **self, struct iog_err *err)
{
	char inside[IOG_TEXT + 2];
	struct files *s = calloc(1, sizeof *s);
	if (!s)
		return iog_fail(err, -ENOMEM, "no memory");
	s->conf = *(const struct conf *)conf;
	for (unsigned i = 0; i < OPEN_MAX; i++)
		s->file[i].fd = -1;
	s->folder = -1;
	iog_format(inside, sizeof inside, "%s/.", s->conf.folder); /* folders a path names: all of it */
	int rc = find(in, s->var, err);
	if (!rc)
		rc = iog_make_folders(inside, err);
	if (!rc && (s->folder = open(s->conf.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		rc = iog_fail_open(err, -errno, s->conf.folder);
	if (rc) {
		finish(s, NULL);
		return rc;
	}
	*self = s;
	return 0;
}

/* ---- files ---- */

/* The folder a path lies in, made below ours, and the last part of the path. The descriptor, or -errno. */
static int descend(const struct files *s, char *path, const char **last)
{
	int at = dup(s->folder);
	char *part = path;
	for (char *slash; at >= 0 && (slash = strchr(part, '/')); part = slash + 1) {
		*slash = 0;
		if (!strcmp(part, "..")) {
			close(at);
			return -EINVAL;
		}
		if (!*part || !strcmp(part, "."))
			continue;
		const int made = mkdirat(at, part, 0777) < 0 && errno != EEXIST ? -1 : 0;
		const int next = made < 0 ? -1 : openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		const int e = errno;
		close(at);
		if (next < 0)
			return -e;
		at = next;
	}
	*last = part;
	if (at >= 0 && (!*part || !strcmp(part, ".") || !strcmp(part, ".."))) {
		close(at);
		return -EINVAL;
	}
	return at < 0 ? -errno : at;
}

/* The open file of that path; NULL with a message. The one that was not used for longest makes room. */
static struct file *opened(struct files *s, const char *path, struct iog_err *err)
{
	struct file *f = &s->file[0];
	char copy[PATH];
	const char *last;
	for (unsigned i = 0; i < OPEN_MAX; i++) {
		struct file *o = &s->file[i];
		if (o->fd >= 0 && !strcmp(o->path, path)) {
			o->used = ++s->now;
			return o;
		}
		if (f->fd >= 0 && (o->fd < 0 || o->used < f->used))
			f = o;
	}
	if (f->fd >= 0) {
		const int rc = close(f->fd);
		f->fd = -1;
		if (rc < 0) {
			iog_fail_write(err, -errno, f->path);
			return NULL;
		}
	}
	iog_strset(copy, sizeof copy, path);
	const int at = descend(s, copy, &last);
	if (at >= 0)
		f->fd = openat(at, last, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
	const int e = at < 0 ? -at : errno;
	if (at >= 0)
		close(at);
	if (f->fd < 0) {
		iog_fail_open(err, -e, path);
		return NULL;
	}
	iog_strset(f->path, sizeof f->path, path);
	f->used = ++s->now;
	return f;
}

/* ---- records ---- */

/* Dense values of a variable: its only block. NULL with *n 0: it is not in the record; false: it is not as it should be. */
static bool values(const struct files *s, const struct iog_record *r, unsigned which, const uint8_t **at, int64_t *n)
{
	const struct iog_var *v = &r->var[s->var[which]];
	*at = NULL, *n = 0;
	if (!v->n_blocks)
		return true;
	*n = iog_block_elems(v->block, wanted[which].rank);
	*at = v->block->data;
	return v->n_blocks == 1 && iog_block_dense(v->block, wanted[which].rank, iog_dtype_size(wanted[which].dtype));
}

static enum iog_step put(void *self, const struct iog_record *r, struct iog_err *err)
{
	struct files *s = self;
	const uint8_t *at[VARIABLES];
	int64_t n[VARIABLES], size = -1, done = 0;
	char path[PATH];
	bool good = true;
	for (unsigned i = 0; i < VARIABLES; i++)
		good &= values(s, r, i, &at[i], &n[i]);
	if (!good || n[V_PATH] <= 0 || n[V_PATH] >= PATH || memchr(at[V_PATH], 0, (size_t)n[V_PATH]) || n[V_OFFSET] != n[V_LENGTH]) {
		iog_fail(err, -EINVAL, "step %lld is no piece of a captured file", (long long)r->step);
		return IOG_FAILED;
	}
	memcpy(path, at[V_PATH], (size_t)n[V_PATH]);
	path[n[V_PATH]] = 0;
	struct file *f = opened(s, path, err);
	if (!f)
		return IOG_FAILED;
	if (n[V_SIZE])
		memcpy(&size, at[V_SIZE], sizeof size);
	if (size >= 0 && ftruncate(f->fd, (off_t)size) < 0) {
		iog_fail_write(err, -errno, path);
		return IOG_FATAL;
	}
	for (int64_t i = 0; i < n[V_OFFSET]; i++) {
		int64_t offset, length;
		memcpy(&offset, at[V_OFFSET] + i * (int64_t)sizeof offset, sizeof offset);
		memcpy(&length, at[V_LENGTH] + i * (int64_t)sizeof length, sizeof length);
		if (offset < 0 || length < 0 || length > n[V_DATA] - done || offset > INT64_MAX - length) {
			iog_fail(err, -EINVAL, "step %lld: piece %lld of %s does not lie in what came with it", (long long)r->step,
				(long long)i, path);
			return IOG_FAILED;
		}
		const int rc = iog_write_at(f->fd, at[V_DATA] + done, (size_t)length, (uint64_t)offset);
		if (rc < 0) {
			iog_fail_write(err, rc, path);
			return IOG_FATAL;
		}
		done += length;
	}
	return IOG_OK;
}

static enum iog_step flush(void *self, struct iog_err *err)
{
	const struct files *s = self;
	for (unsigned i = 0; i < OPEN_MAX; i++)
		if (s->file[i].fd >= 0 && fdatasync(s->file[i].fd) < 0) {
			iog_fail_write(err, -errno, s->file[i].path);
			return IOG_FATAL;
		}
	return IOG_OK;
}

extern const struct iog_sink iog_sink_files;
const struct iog_sink iog_sink_files = {
	.name = "files",
	.summary = "Puts captured files back together, byte for byte",
	.params = params,
	.conf_size = sizeof(struct conf),
	.accept = accept_schema,
	.open = begin,
	.write = put,
	.flush = flush,
	.close = finish,
};
