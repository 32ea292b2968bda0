/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The image sink: one numbered file per record. An encoded image is stored byte for byte, a raw rgb8 image as PPM. A file appears under
 * its name only when it is complete. Runs on its I/O thread.
 */
#include "runtime/host/endpoint.h"
#include "runtime/host/endpoints/endpoint-util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BY_COUNT, BY_STEP };

struct conf {
	char path[IOG_TEXT], variable[IOG_NAME], latest[IOG_TEXT];
	uint32_t number, pad;
};

static const struct iog_param params[] = {
	IOG_PARAM(struct conf, path, IOG_P_STRING, .flags = IOG_PF_FIRST | IOG_PF_REQUIRED | IOG_PF_WRITES | IOG_PF_NUMBERED,
		.doc = "Name of the files with one %d for the number, as in \"out/frame-%06d.jpg\"; folders are made."),
	IOG_PARAM(struct conf, variable, IOG_P_STRING, .doc = "The image; none: the only one in the stream."),
	IOG_PARAM(struct conf, number, IOG_P_CHOICE, .def = "count", .choices = "count|step",
		.doc = "What the number counts: files from 0, or steps."),
	IOG_PARAM(struct conf, latest, IOG_P_STRING, .flags = IOG_PF_WRITES,
		.doc = "A symbolic link kept on the newest file, as in \"out/latest.jpg\"."),
	{ .name = NULL },
};

struct image {
	struct conf conf;
	struct iog_schema schema;
	uint32_t var;
	size_t prefix, suffix; /* the pattern is path[0, prefix) number path[suffix, ...) */
	unsigned width;
	bool zeros;
	int64_t count;
	char written[2 * IOG_TEXT];
	uint8_t *rows;
	uint64_t rows_size;
};

/* One %d, with an optional width of up to two digits; %% is not needed in file names and refused with everything else. */
static int parse_pattern(struct image *m, struct iog_err *err)
{
	const char *s = m->conf.path, *p = strchr(s, '%');
	if (!p || strchr(p + 1, '%'))
		return iog_fail(
			err, -EINVAL, "\"path\" must hold exactly one %%d for the number, as in \"frame-%%06d.jpg\", got \"%s\"", s);
	m->prefix = (size_t)(p - s);
	p++;
	m->zeros = *p == '0';
	p += m->zeros;
	for (m->width = 0; *p >= '0' && *p <= '9' && m->width < 10; p++)
		m->width = m->width * 10 + (unsigned)(*p - '0');
	if (*p != 'd' || m->width > 20 || (m->width && !m->zeros))
		return iog_fail(err, -EINVAL, "\"path\" must hold %%d or %%0Nd with N up to 20, as in \"frame-%%06d.jpg\", got \"%s\"", s);
	m->suffix = (size_t)(p + 1 - s);
	return 0;
}

static bool is_picture(const struct iog_schema *s, unsigned i)
{
	const struct iog_vardef *v = &s->var[i];
	unsigned last = v->n_codecs ? v->codec[v->n_codecs - 1] : IOG_CODEC_NONE;
	return v->n_codecs == 1 ? last == IOG_CODEC_JPEG || last == IOG_CODEC_PNG : !v->n_codecs && iog_var_is_rgb(s, i);
}

/* Name of a variable that could be meant, in the words of the message. */
static int choose(const struct conf *c, const struct iog_schema *s, uint32_t *var, struct iog_err *err)
{
	int found = -1;
	if (c->variable[0]) {
		found = iog_schema_var(s, c->variable);
		if (found < 0)
			return iog_fail(err, -EINVAL, "the stream has no variable %s", c->variable);
		if (!is_picture(s, (unsigned)found))
			return iog_fail(
				err, -EINVAL, "variable %s is neither encoded as jpeg or png nor a raw image (u8[y, x, rgb])", c->variable);
	}
	for (uint32_t i = 0; found < 0 && i < s->n_vars; i++)
		if (is_picture(s, i)) {
			for (uint32_t k = i + 1; k < s->n_vars; k++)
				if (is_picture(s, k))
					return iog_fail(err, -EINVAL,
						"the stream has several images (%s, %s); choose one with \"variable\"", s->var[i].name,
						s->var[k].name);
			found = (int)i;
		}
	if (found < 0)
		return iog_fail(
			err, -EINVAL, "the stream has no image: a variable encoded as jpeg or png, or u8[y, x, rgb]; add render or jpeg");
	*var = (uint32_t)found;
	return 0;
}

/* The ending must tell the truth about what is inside. */
static int check_ending(const struct image *m, struct iog_err *err)
{
	static const char *const want[3] = { ".ppm", ".jpg or .jpeg", ".png" };
	const struct iog_vardef *v = &m->schema.var[m->var];
	unsigned kind = !v->n_codecs ? 0 : v->codec[0] == IOG_CODEC_JPEG ? 1 : 2;
	const char *dot = strrchr(m->conf.path, '.');
	if (dot && ((kind == 0 && iog_streq(dot, ".ppm")) || (kind == 1 && (iog_streq(dot, ".jpg") || iog_streq(dot, ".jpeg"))) ||
			   (kind == 2 && iog_streq(dot, ".png"))))
		return 0;
	return iog_fail(err, -EINVAL, "variable %s is stored as %s; \"path\" must end in %s, got \"%s\"", v->name,
		kind == 0   ? "a raw image (PPM)"
		: kind == 1 ? "jpeg"
			    : "png",
		want[kind], m->conf.path);
}

static int prepare(struct image *m, const struct conf *c, const struct iog_schema *in, struct iog_err *err)
{
	m->conf = *c;
	m->schema = *in;
	int r = parse_pattern(m, err);
	if (!r)
		r = choose(c, in, &m->var, err);
	return r ? r : check_ending(m, err);
}

static int accept_schema(const void *conf, const struct iog_schema *in, struct iog_err *err)
{
	struct image *m = calloc(1, sizeof *m);
	int r = m ? prepare(m, conf, in, err) : iog_fail(err, -ENOMEM, "no memory");
	free(m);
	return r;
}

static int begin(const void *conf, const struct iog_schema *in, void **self, struct iog_err *err)
{
	struct image *m = calloc(1, sizeof *m);
	if (!m)
		return iog_fail(err, -ENOMEM, "no memory");
	int r = prepare(m, conf, in, err);
	if (!r)
		r = iog_make_folders(m->conf.path, err);
	if (!r && m->conf.latest[0])
		r = iog_make_folders(m->conf.latest, err);
	if (r < 0) {
		free(m);
		return r;
	}
	*self = m;
	return 0;
}

/* Replaces the link at once: readers see the old or the new one. */
static int point_latest(struct image *m)
{
	char tmp[IOG_TEXT + 8];
	const char *target = m->written, *slash = strrchr(m->conf.latest, '/');
	size_t dir = slash ? (size_t)(slash - m->conf.latest) + 1 : 0;
	/* Within one folder the link names the file alone, so that the folder can be moved. */
	if (!strncmp(target, m->conf.latest, dir) && !strchr(target + dir, '/'))
		target += dir;
	iog_format(tmp, sizeof tmp, "%s.part", m->conf.latest);
	unlink(tmp);
	if (symlink(target, tmp) < 0 || rename(tmp, m->conf.latest) < 0)
		return -errno;
	return 0;
}

/* The bytes of the file: head (for PPM) and body. 0 or -errno with a message. */
static int contents(struct image *m, const struct iog_record *r, char head[64], const uint8_t **body, uint64_t *bytes, struct iog_err *err)
{
	const struct iog_vardef *v = &m->schema.var[m->var];
	head[0] = 0;
	if (!r->var[m->var].n_blocks)
		return iog_fail(err, -ENODATA, "step %lld has no %s", (long long)r->step, v->name);
	if (v->n_codecs) {
		if (r->var[m->var].n_blocks != 1)
			return iog_fail(err, -EINVAL, "%s comes in %u pieces in step %lld; merge before encoding", v->name,
				r->var[m->var].n_blocks, (long long)r->step);
		*body = r->var[m->var].block->data;
		*bytes = r->var[m->var].block->bytes;
		return 0;
	}
	int64_t h = r->axis[v->dim[0]].extent, w = r->axis[v->dim[1]].extent;
	*bytes = (uint64_t)h * (uint64_t)w * 3;
	iog_format(head, 64, "P6\n%lld %lld\n255\n", (long long)w, (long long)h);
	if (iog_record_whole(r, m->var, body))
		return 0;
	if (m->rows_size < *bytes) {
		free(m->rows);
		m->rows = malloc(*bytes);
		m->rows_size = m->rows ? *bytes : 0;
	}
	if (!m->rows)
		return iog_fail(err, -ENOMEM, "no memory for a picture of %lld by %lld", (long long)w, (long long)h);
	memset(m->rows, 0, *bytes);
	iog_record_assemble(r, m->var, m->rows);
	*body = m->rows;
	return 0;
}

static enum iog_step put(void *self, const struct iog_record *r, struct iog_err *err)
{
	struct image *m = self;
	char head[64], tmp[2 * IOG_TEXT + 8], digits[32];
	const uint8_t *body = NULL;
	uint64_t bytes = 0;
	if (contents(m, r, head, &body, &bytes, err) < 0)
		return IOG_FAILED;
	int64_t n = m->conf.number == BY_STEP ? r->step : m->count;
	size_t k = (size_t)iog_format(digits, sizeof digits, "%lld", (long long)n), minus = n < 0;
	iog_format(m->written, sizeof m->written, "%.*s%s", (int)m->prefix, m->conf.path, minus ? "-" : "");
	for (size_t at = iog_strlen(m->written), z = k; z < m->width; z++)
		m->written[at++] = '0', m->written[at] = 0;
	size_t at = iog_strlen(m->written);
	iog_format(m->written + at, sizeof m->written - at, "%s%s", digits + minus, m->conf.path + m->suffix);
	iog_format(tmp, sizeof tmp, "%s.part", m->written);
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), e = fd < 0 ? -errno : 0;
	size_t h = iog_strlen(head);
	if (!e)
		e = iog_write_at(fd, head, h, 0);
	if (!e)
		e = iog_write_at(fd, body, bytes, h);
	if (fd >= 0 && close(fd) < 0 && !e)
		e = -errno;
	if (!e && rename(tmp, m->written) < 0)
		e = -errno;
	if (!e && m->conf.latest[0])
		e = point_latest(m);
	if (e < 0) {
		unlink(tmp);
		iog_fail_write(err, e, m->written);
		return IOG_FATAL;
	}
	m->count++;
	return IOG_OK;
}

static enum iog_step flush(void *self, struct iog_err *err)
{
	struct image *m = self;
	int fd = m->count ? open(m->written, O_RDONLY | O_CLOEXEC) : -1;
	/* The file system orders the files before; all of them would cost a flush each. */
	if (fd >= 0 && syncfs(fd) < 0) {
		iog_fail_write(err, -errno, m->written);
		close(fd);
		return IOG_FATAL;
	}
	if (fd >= 0)
		close(fd);
	return IOG_OK;
}

static int finish(void *self, struct iog_err *err)
{
	(void)err;
	struct image *m = self;
	if (!m)
		return 0;
	free(m->rows);
	free(m);
	return 0;
}

extern const struct iog_sink iog_sink_image;
const struct iog_sink iog_sink_image = {
	.name = "image",
	.summary = "Numbered image files, one per record",
	.params = params,
	.conf_size = sizeof(struct conf),
	.accept = accept_schema,
	.open = begin,
	.write = put,
	.flush = flush,
	.close = finish,
};
