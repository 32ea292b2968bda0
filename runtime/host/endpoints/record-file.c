/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The native record file as a sink and as a source; record-file.h has the format. The sink appends; a crash at any moment leaves a file
 * that reads up to the last whole record, and opening it again cuts off the torn rest. The source hands out records with their epochs.
 * Runs on its I/O thread.
 */
#include "runtime/host/endpoints/record-file.h"
#include "runtime/host/endpoint.h"
#include "runtime/host/endpoints/endpoint-util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char file_magic[8] = { 'I', 'O', 'G', 'R', 'E', 'C', 'F', '\n' };
static const char frame_magic[4] = { 'R', 'E', 'C', 'D' };
enum { CARRIES_STATICS = 1 };

static uint64_t head_sum(uint8_t *head, uint32_t bytes)
{
	struct iog_rf_head h;
	memcpy(&h, head, sizeof h);
	h.sum = 0;
	memcpy(head, &h, sizeof h);
	return iog_hash(head, bytes, 0);
}

static uint64_t frame_sum(struct iog_rf_frame f)
{
	f.sum = 0;
	return iog_hash(&f, sizeof f, 0);
}

int iog_rf_read_head(int fd, uint64_t size, const char *path, struct iog_schema *schema, uint64_t *first, struct iog_err *err)
{
	struct iog_rf_head h;
	int r = size < sizeof h ? -ENODATA : iog_read_at(fd, &h, sizeof h, 0);
	if (r < 0 && r != -ENODATA)
		return iog_fail(err, r, "cannot read %s: %s", path, iog_errno_text(-r));
	if (r < 0 || memcmp(h.magic, file_magic, sizeof file_magic))
		return iog_fail(err, -EBADMSG, "%s is not a record file", path);
	if (h.version != IOG_RF_VERSION)
		return iog_fail(
			err, -EPROTO, "%s has version %u of the format; this program reads version %d", path, h.version, IOG_RF_VERSION);
	uint64_t need = sizeof h + (uint64_t)h.text_bytes + h.schema_bytes;
	if (h.schema_bytes != sizeof *schema || h.text_bytes > IOG_RF_TEXT_MAX || h.head_bytes != IOG_ROUND_UP(need, IOG_ALIGN) ||
		h.head_bytes > size)
		return iog_fail(err, -EBADMSG, "the head of %s is damaged: its sizes do not fit", path);
	uint8_t *buf = malloc(h.head_bytes);
	char *text = malloc(IOG_RF_TEXT_MAX);
	r = buf && text ? iog_read_at(fd, buf, h.head_bytes, 0) : -ENOMEM;
	if (r < 0)
		iog_fail(err, r, "cannot read %s: %s", path, iog_errno_text(-r));
	else if (head_sum(buf, h.head_bytes) != h.sum)
		r = iog_fail(err, -EBADMSG, "the head of %s is damaged: its checksum is wrong", path);
	if (r == 0) {
		memcpy(schema, buf + sizeof h + h.text_bytes, sizeof *schema);
		r = iog_schema_seal(schema, err);
		if (r == 0) {
			size_t n = iog_schema_text(schema, true, text, IOG_RF_TEXT_MAX);
			if (schema->id != h.schema_id || n != h.text_bytes || memcmp(text, buf + sizeof h, n))
				r = iog_fail(err, -EBADMSG, "the head of %s is damaged: its two schemas differ", path);
		}
	}
	*first = h.head_bytes;
	free(buf);
	free(text);
	return r;
}

int iog_rf_read_frame(int fd, uint64_t size, uint64_t at, struct iog_rf_frame *f)
{
	if (at > size || size - at < sizeof *f || iog_read_at(fd, f, sizeof *f, at) < 0)
		return 0;
	return !memcmp(f->magic, frame_magic, sizeof frame_magic) && frame_sum(*f) == f->sum && f->length >= sizeof(struct iog_wire) &&
	       f->length <= size - at - sizeof *f;
}

static uint64_t frame_end(uint64_t at, const struct iog_rf_frame *f) { return at + sizeof *f + IOG_ROUND_UP(f->length, IOG_ALIGN); }

/* ---- sink ---- */

enum { APPEND, TRUNCATE, NEW };

struct sink_conf {
	char path[IOG_TEXT];
	uint32_t on_restart, pad;
	int64_t flush;
};

static const struct iog_param sink_params[] = {
	IOG_PARAM(struct sink_conf, path, IOG_P_STRING, .flags = IOG_PF_FIRST | IOG_PF_REQUIRED | IOG_PF_WRITES,
		.doc = "The file, by convention NAME.iogr; folders are made."),
	IOG_PARAM(struct sink_conf, on_restart, IOG_P_CHOICE, .def = "append", .choices = "append|truncate|new",
		.doc = "When the file exists: go on after its last whole record, start it anew, or refuse."),
	IOG_PARAM(struct sink_conf, flush, IOG_P_INT, .def = "10", .min = 1, .max = 1e9, .unit = "records",
		.doc = "With release = \"safe\": make the file durable at least this often."),
	{ .name = NULL },
};

struct sink {
	struct sink_conf conf;
	struct iog_schema schema;
	struct iog_record rec; /* copy without static variables */
	int fd;
	bool failed, any, statics_there;
	uint64_t end, durable;
	struct iog_id last; /* of the last record in the file */
	uint8_t *buf;
	uint64_t size;
};

static int accept_any(const void *conf, const struct iog_schema *in, struct iog_err *err)
{
	(void)conf, (void)in, (void)err;
	return 0;
}

static bool grow(uint8_t **buf, uint64_t *size, uint64_t need)
{
	if (need <= *size)
		return true;
	if (need > UINT64_MAX / 2)
		return false;
	uint64_t n = IOG_ROUND_UP(need + need / 8, IOG_ALIGN);
	uint8_t *p = aligned_alloc(IOG_ALIGN, n);
	if (!p)
		return false;
	free(*buf);
	*buf = p, *size = n;
	return true;
}

/* Writes the head of a new file. */
static int make_head(struct sink *s, struct iog_err *err)
{
	size_t n = iog_schema_text(&s->schema, true, NULL, 0);
	uint64_t bytes = IOG_ROUND_UP(sizeof(struct iog_rf_head) + n + sizeof s->schema, IOG_ALIGN);
	if (n > IOG_RF_TEXT_MAX - 1)
		return iog_fail(err, -E2BIG, "the text of the schema is %zu bytes long, at most %d fit", n, IOG_RF_TEXT_MAX - 1);
	uint8_t *b = calloc(1, bytes + 1);
	if (!b)
		return iog_fail(err, -ENOMEM, "no memory");
	struct iog_rf_head h = { .version = IOG_RF_VERSION,
		.head_bytes = (uint32_t)bytes,
		.text_bytes = (uint32_t)n,
		.schema_bytes = sizeof s->schema,
		.schema_id = s->schema.id };
	memcpy(h.magic, file_magic, sizeof file_magic);
	memcpy(b, &h, sizeof h);
	iog_schema_text(&s->schema, true, (char *)b + sizeof h, n + 1);
	memcpy(b + sizeof h + n, &s->schema, sizeof s->schema);
	h.sum = head_sum(b, (uint32_t)bytes);
	memcpy(b, &h, sizeof h);
	int r = iog_write_at(s->fd, b, bytes, 0);
	free(b);
	if (r < 0) {
		(void)!ftruncate(s->fd, 0);
		return iog_fail_write(err, r, s->conf.path);
	}
	s->end = bytes;
	return 0;
}

/* True when the record of the frame at `at` is what was written. */
static bool frame_whole(struct sink *s, uint64_t at, const struct iog_rf_frame *f)
{
	return grow(&s->buf, &s->size, f->length) && iog_read_at(s->fd, s->buf, f->length, at + sizeof *f) == 0 &&
	       iog_hash(s->buf, f->length, 0) == f->data_sum;
}

/* The same variables, and room in the file's schema for what ours allows. */
static bool fits(const struct iog_schema *file, const struct iog_schema *in)
{
	bool ok = file->id == in->id && file->n_dims == in->n_dims;
	for (uint32_t d = 0; ok && d < in->n_dims; d++)
		ok = in->dim[d].max <= file->dim[d].max && in->dim[d].fixed == file->dim[d].fixed;
	return ok;
}

/* Walks over frames from s->end while their heads are good and, with `check`, their records, or else while they end before `limit`.
 * *durable: the largest offset known to be durable. */
static void walk(struct sink *s, uint64_t size, uint64_t limit, bool check, uint64_t *durable)
{
	struct iog_rf_frame f;
	while (iog_rf_read_frame(s->fd, size, s->end, &f)) {
		uint64_t end = frame_end(s->end, &f);
		if (end > limit || (check && !frame_whole(s, s->end, &f)))
			return;
		if (f.durable <= s->end)
			*durable = IOG_MAX(*durable, f.durable);
		s->end = end;
		s->any = true;
		s->last = (struct iog_id){ .seq = f.seq, .epoch = f.epoch, .writer = f.writer };
	}
}

/* Finds the last whole record: only heads are read up to the offset known to be durable, everything behind it. */
static int find_end(struct sink *s, uint64_t size, struct iog_err *err)
{
	struct iog_schema there = { 0 };
	uint64_t first, durable = 0;
	int r = iog_rf_read_head(s->fd, size, s->conf.path, &there, &first, err);
	if (r < 0)
		return r;
	if (!fits(&there, &s->schema))
		return iog_fail(err, -EEXIST, "%s exists with another schema; use another path or on_restart = \"truncate\"", s->conf.path);
	s->end = first;
	walk(s, size, UINT64_MAX, false, &durable);
	s->end = first, s->any = false;
	walk(s, size, durable, false, &durable);
	walk(s, size, UINT64_MAX, true, &durable);
	s->durable = IOG_MIN(durable, s->end);
	if (s->end < size && ftruncate(s->fd, (off_t)s->end) < 0)
		return iog_fail_write(err, -errno, s->conf.path);
	return 0;
}

/* A file too short for a head: empty, or torn while the head was written; anything else is not ours to overwrite. */
static int begin_file(struct sink *s, uint64_t size, struct iog_err *err)
{
	char there[sizeof file_magic] = { 0 };
	size_t n = IOG_MIN(size, sizeof there);
	if (iog_read_at(s->fd, there, n, 0) < 0 || memcmp(there, file_magic, n))
		return iog_fail(err, -EEXIST, "%s exists and is not a record file; use another path", s->conf.path);
	return make_head(s, err);
}

static int sink_close(void *self, struct iog_err *err)
{
	struct sink *s = self;
	if (!s)
		return 0;
	int r = s->fd >= 0 && close(s->fd) < 0 ? iog_fail_write(err, -errno, s->conf.path) : 0;
	free(s->buf);
	free(s);
	return r;
}

static int sink_open(const void *conf, const struct iog_schema *in, void **self, struct iog_err *err)
{
	struct sink *s = calloc(1, sizeof *s);
	uint64_t size = 0;
	if (!s)
		return iog_fail(err, -ENOMEM, "no memory");
	s->conf = *(const struct sink_conf *)conf;
	s->schema = *in;
	s->fd = -1;
	int r = iog_make_folders(s->conf.path, err);
	if (!r)
		r = iog_open_alone(s->conf.path, s->conf.on_restart == TRUNCATE, s->conf.on_restart == NEW, &s->fd, &size, err);
	if (!r)
		r = size < sizeof(struct iog_rf_head) ? begin_file(s, size, err) : find_end(s, size, err);
	if (r < 0) {
		sink_close(s, NULL);
		return r;
	}
	iog_sync_parent(s->conf.path);
	*self = s;
	return 0;
}

static enum iog_step sink_write(void *self, const struct iog_record *r, struct iog_err *err)
{
	struct sink *s = self;
	if (s->failed) {
		iog_fail(err, -EIO, "%s could not be written before", s->conf.path);
		return IOG_FATAL;
	}
	/* The same static bytes for a whole epoch: the reader keeps them while epoch and writer stay the same. */
	bool same = s->statics_there && s->last.epoch == r->id.epoch && s->last.writer == r->id.writer;
	const struct iog_record *from = r;
	if (same) {
		s->rec = *r;
		for (uint32_t i = 0; i < r->schema->n_vars; i++)
			if (r->schema->var[i].flags & IOG_VAR_STATIC)
				s->rec.var[i].n_blocks = 0;
		from = &s->rec;
	}
	uint64_t need = iog_wire_size(from);
	if (!grow(&s->buf, &s->size, need + sizeof(struct iog_rf_frame) + IOG_ALIGN)) {
		iog_fail(err, -ENOMEM, "no memory for a record of %llu bytes", (unsigned long long)need);
		return IOG_FAILED;
	}
	struct iog_rf_frame f = {
		.epoch = r->id.epoch, .seq = r->id.seq, .writer = r->id.writer, .durable = s->durable, .flags = same ? 0 : CARRIES_STATICS
	};
	int64_t n = iog_wire_pack(s->buf + sizeof f, s->size - sizeof f, from);
	if (n < 0) {
		iog_fail(err, (int)n, "step %lld cannot be packed: %s", (long long)r->step, iog_errno_text((int)-n));
		return IOG_FAILED;
	}
	memcpy(f.magic, frame_magic, sizeof frame_magic);
	f.length = (uint64_t)n;
	f.data_sum = iog_hash(s->buf + sizeof f, f.length, 0);
	f.sum = frame_sum(f);
	memcpy(s->buf, &f, sizeof f);
	uint64_t bytes = frame_end(0, &f);
	memset(s->buf + sizeof f + f.length, 0, bytes - sizeof f - f.length);
	int e = iog_write_at(s->fd, s->buf, bytes, s->end);
	if (e < 0) {
		if (ftruncate(s->fd, (off_t)s->end) < 0)
			s->failed = true;
		iog_fail_write(err, e, s->conf.path);
		return IOG_FATAL;
	}
	s->end += bytes;
	s->last = r->id;
	s->statics_there = true;
	return IOG_OK;
}

static enum iog_step sink_flush(void *self, struct iog_err *err)
{
	struct sink *s = self;
	if (s->durable == s->end)
		return IOG_OK;
	if (fdatasync(s->fd) < 0) {
		iog_fail_write(err, -errno, s->conf.path);
		return IOG_FATAL;
	}
	s->durable = s->end;
	return IOG_OK;
}

static int sink_recover(void *self, struct iog_id *last, bool *any, struct iog_err *err)
{
	struct sink *s = self;
	*any = s->any;
	*last = s->last;
	/* What was found whole may still be only in the page cache of a machine that did not crash. */
	return sink_flush(s, err) == IOG_OK ? 0 : -EIO;
}

static uint32_t sink_flush_every(const void *conf) { return (uint32_t)((const struct sink_conf *)conf)->flush; }

extern const struct iog_sink iog_sink_record;
const struct iog_sink iog_sink_record = {
	.name = "record",
	.summary = "Keeps records as they are, in the native record file",
	.params = sink_params,
	.conf_size = sizeof(struct sink_conf),
	.flags = IOG_SINK_SAFE,
	.accept = accept_any,
	.open = sink_open,
	.write = sink_write,
	.flush = sink_flush,
	.recover = sink_recover,
	.flush_every = sink_flush_every,
	.close = sink_close,
};

/* ---- source ---- */

struct source_conf {
	char path[IOG_TEXT];
	double rate;
};

static const struct iog_param source_params[] = {
	IOG_PARAM(struct source_conf, path, IOG_P_STRING, .flags = IOG_PF_FIRST | IOG_PF_REQUIRED | IOG_PF_READS,
		.doc = "The record file to read."),
	IOG_PARAM(struct source_conf, rate, IOG_P_NUMBER, .def = "0", .min = 0, .max = 1e9, .unit = "1/s",
		.doc = "Records a second, at most; 0: as fast as they are taken."),
	{ .name = NULL },
};

struct source {
	struct source_conf conf;
	struct iog_schema file, schema; /* as in the file; as the graph bounded it: the same id */
	struct iog_pace pace;
	int fd;
	bool begun;
	uint64_t size, at;
	uint32_t epochs, base_epoch;
	uint32_t last_epoch, last_writer; /* in the file */
	int64_t last_step;
	uint8_t *head, *buf, *kept; /* buf: the record; kept: the one whose static variables are in force */
	uint64_t buf_size, kept_size;
	struct iog_block *block, *kept_block;
	struct iog_record rec, kept_rec;
	bool have_kept;
};

static int open_file(const char *path, int *fd, uint64_t *size, struct iog_err *err)
{
	struct stat st;
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0 || fstat(*fd, &st) < 0)
		return iog_fail(err, -errno, "cannot open %s: %s", path, iog_errno_text(errno));
	if (!S_ISREG(st.st_mode))
		return iog_fail(err, -EINVAL, "%s is not a regular file", path);
	*size = (uint64_t)st.st_size;
	return 0;
}

static int source_describe(const void *conf, struct iog_schema *schema, struct iog_err *err)
{
	const struct source_conf *c = conf;
	int fd = -1;
	uint64_t size, first;
	int r = open_file(c->path, &fd, &size, err);
	if (!r)
		r = iog_rf_read_head(fd, size, c->path, schema, &first, err);
	if (fd >= 0)
		close(fd);
	return r;
}

static void source_close(void *self)
{
	struct source *s = self;
	if (!s)
		return;
	iog_pace_finish(&s->pace);
	if (s->fd >= 0)
		close(s->fd);
	free(s->head);
	free(s->buf);
	free(s->kept);
	free(s->block);
	free(s->kept_block);
	free(s);
}

static int source_open(const void *conf, const struct iog_schema *schema, void **self, struct iog_err *err)
{
	struct source *s = calloc(1, sizeof *s);
	if (!s)
		return iog_fail(err, -ENOMEM, "no memory");
	s->conf = *(const struct source_conf *)conf;
	s->schema = *schema;
	s->pace.fd = s->fd = -1;
	s->head = aligned_alloc(IOG_ALIGN, IOG_HEAD_MAX);
	s->block = calloc(IOG_BLOCKS_MAX, sizeof *s->block);
	s->kept_block = calloc(IOG_BLOCKS_MAX, sizeof *s->kept_block);
	int r = s->head && s->block && s->kept_block ? open_file(s->conf.path, &s->fd, &s->size, err) : iog_fail(err, -ENOMEM, "no memory");
	if (!r)
		r = iog_rf_read_head(s->fd, s->size, s->conf.path, &s->file, &s->at, err);
	if (!r && s->file.id != schema->id)
		r = iog_fail(err, -EPROTO, "%s changed since the graph was checked: it has another schema now", s->conf.path);
	if (!r)
		r = iog_pace_init(&s->pace, s->conf.rate, err);
	if (r < 0) {
		source_close(s);
		return r;
	}
	*self = s;
	return 0;
}

/* Reads the record of frame f into s->rec; statics are taken from it or from the one before. IOG_OK, or IOG_ELIDE when it is damaged. */
static enum iog_step load(struct source *s, uint64_t at, const struct iog_rf_frame *f, struct iog_err *err)
{
	if (!grow(&s->buf, &s->buf_size, f->length) || iog_read_at(s->fd, s->buf, f->length, at + sizeof *f) < 0 ||
		iog_hash(s->buf, f->length, 0) != f->data_sum) {
		iog_fail(err, 0, "the record at byte %llu of %s is damaged", (unsigned long long)at, s->conf.path);
		return IOG_ELIDE;
	}
	if (iog_wire_open(&s->rec, s->buf, f->length, &s->schema, NULL, 0, s->block, IOG_BLOCKS_MAX, s->head, IOG_HEAD_MAX, IOG_OPEN_SUM,
		    err) < 0)
		return IOG_ELIDE;
	if (f->flags & CARRIES_STATICS) {
		/* Swap, so that these bytes stay when the next record is read over the other buffer. */
		uint8_t *b = s->buf;
		uint64_t n = s->buf_size;
		struct iog_block *k = s->block;
		s->buf = s->kept, s->buf_size = s->kept_size, s->kept = b, s->kept_size = n;
		s->block = s->kept_block, s->kept_block = k;
		s->kept_rec = s->rec;
		s->have_kept = true;
	} else {
		if (!s->have_kept || f->epoch != s->last_epoch || f->writer != s->last_writer) {
			iog_fail(err, 0, "the record at byte %llu of %s lacks its static variables", (unsigned long long)at, s->conf.path);
			return IOG_ELIDE;
		}
		for (uint32_t i = 0; i < s->schema.n_vars; i++) {
			const struct iog_vardef *v = &s->schema.var[i];
			if (!(v->flags & IOG_VAR_STATIC))
				continue;
			for (unsigned d = 0; d < v->rank; d++)
				if (s->kept_rec.axis[v->dim[d]].extent != s->rec.axis[v->dim[d]].extent) {
					iog_fail(err, 0, "static variable %s does not fit the record at byte %llu of %s", v->name,
						(unsigned long long)at, s->conf.path);
					return IOG_ELIDE;
				}
			s->rec.var[i] = s->kept_rec.var[i];
		}
	}
	return IOG_OK;
}

static enum iog_step source_next(void *self, struct iog_out *o, uint64_t limit_ns, struct iog_err *err)
{
	struct source *s = self;
	struct iog_rf_frame f;
	err->text[0] = 0;
	if (!iog_pace_wait(&s->pace, limit_ns))
		return IOG_HOLD;
	if (!iog_rf_read_frame(s->fd, s->size, s->at, &f))
		/* The end, or what a crash left behind it; a sink that goes on with the file cuts that off. */
		return IOG_FATAL;
	uint64_t at = s->at;
	s->at = frame_end(at, &f);
	enum iog_step r = load(s, at, &f, err);
	if (r != IOG_OK)
		return r;
	if (!s->begun)
		s->base_epoch = o->rec.id.epoch, s->begun = true;
	else if (f.epoch != s->last_epoch || (f.writer == s->last_writer && s->rec.step <= s->last_step))
		s->epochs++;
	s->last_epoch = f.epoch, s->last_writer = f.writer, s->last_step = s->rec.step;
	uint64_t stream = o->rec.id.stream;
	o->used = 0, o->n_blocks = 0;
	o->rec = s->rec;
	o->rec.schema = &s->schema;
	o->rec.id.stream = stream;
	o->rec.id.epoch = s->base_epoch + s->epochs;
	o->rec.born_ns = 0;
	o->rec.param_version = 0;
	iog_pace_sent(&s->pace);
	return IOG_OK;
}

static void source_wake(void *self) { iog_pace_wake(&((struct source *)self)->pace); }

extern const struct iog_source iog_source_record;
const struct iog_source iog_source_record = {
	.name = "record",
	.summary = "Plays a native record file",
	.params = source_params,
	.conf_size = sizeof(struct source_conf),
	.describe = source_describe,
	.open = source_open,
	.next = source_next,
	.close = source_close,
	.wake = source_wake,
};
