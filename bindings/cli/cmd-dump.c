/* SPDX-License-Identifier: BSD-3-Clause */
/* `iog dump`: a native record file as text. Nothing in the file is trusted: records are validated before they are looked at. One thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "runtime/host/endpoints/endpoint-util.h"
#include "runtime/host/endpoints/record-file.h"

extern const struct iog_cli_cmd iog_cmd_dump;

static const struct iog_cli_opt options[] = {
	{ "records", 0, "N", "at most the first N records" },
	{ "values", 0, "N", "at most N values of each variable (default 6)" },
	{ .name = NULL },
};
enum { RECORDS, VALUES };

struct dump {
	const char *path;
	uint64_t records, values;
	int fd;
	uint64_t size, buf_size;
	struct iog_schema schema;
	uint8_t *head, *buf;
	struct iog_block *block;
};

/* ---- values ---- */

static void print_value(const uint8_t *p, unsigned dtype)
{
	int64_t i = 0;
	uint64_t u = 0;
	double c[2];
	float f[2];
	switch (dtype) {
	case IOG_I64:
		memcpy(&i, p, 8);
		printf("%lld", (long long)i);
		break;
	case IOG_U64:
		memcpy(&u, p, 8);
		printf("%llu", (unsigned long long)u);
		break;
	case IOG_C64:
		memcpy(f, p, 8);
		printf("%.7g%+.7gi", (double)f[0], (double)f[1]);
		break;
	case IOG_C128:
		memcpy(c, p, 16);
		printf("%.12g%+.12gi", c[0], c[1]);
		break;
	case IOG_BOOL: printf("%s", *p ? "true" : "false"); break;
	case IOG_BYTE: printf("%02x", *p); break;
	default: printf(dtype == IOG_F64 ? "%.12g" : dtype == IOG_F16 ? "%.4g" : dtype == IOG_F32 ? "%.7g" : "%.0f", iog_load(p, dtype));
	}
}

/* The first values of a block, in the order of its indices. Returns how many. */
static uint64_t print_block(const struct iog_block *b, unsigned rank, unsigned dtype, uint64_t most)
{
	int64_t at[IOG_RANK] = { 0 };
	uint64_t n = 0;
	for (unsigned d = 0; d < rank; d++)
		if (b->count[d] < 1)
			return 0;
	for (; n < most; n++) {
		int64_t offset = 0;
		for (unsigned d = 0; d < rank; d++)
			offset += at[d] * b->stride[d];
		printf(" ");
		print_value(b->data + offset, dtype);
		unsigned d = rank;
		while (d-- > 0 && ++at[d] == b->count[d])
			at[d] = 0;
		if (d >= rank) /* every index came round */
			return n + 1;
	}
	return n;
}

static void print_variable(const struct dump *d, const struct iog_record *r, unsigned i)
{
	const struct iog_vardef *v = &d->schema.var[i];
	const struct iog_var *x = &r->var[i];
	char f[IOG_FIGURE];
	printf("    %s", v->name);
	for (unsigned k = 0; k < v->rank; k++)
		printf("%s%lld%s", k ? "," : "[", (long long)r->axis[v->dim[k]].extent, k + 1 == v->rank ? "]" : "");
	if (v->unit[0])
		printf(" %s", v->unit);
	printf(":");
	if (!x->n_blocks) {
		printf(v->flags & IOG_VAR_STATIC ? " as before\n" : " not in this record\n");
		return;
	}
	if (iog_var_opaque(v)) {
		uint64_t bytes = 0;
		for (uint32_t b = 0; b < x->n_blocks; b++)
			bytes += x->block[b].bytes;
		printf(" %s, %s\n", iog_codec_name(v->codec[v->n_codecs - 1]), iog_show_bytes(f, (double)bytes));
		return;
	}
	uint64_t n = 0;
	uint32_t b = 0;
	for (; b < x->n_blocks && n < d->values; b++)
		n += print_block(&x->block[b], v->rank, v->dtype, d->values - n);
	double all = 0;
	for (b = 0; b < x->n_blocks; b++) {
		double e = 1;
		for (unsigned k = 0; k < v->rank; k++)
			e *= (double)x->block[b].count[k];
		all += e;
	}
	if (all > (double)n)
		printf(" ...");
	if (x->n_blocks > 1)
		printf(" (%u blocks)", x->n_blocks);
	printf("\n");
}

/* ---- the file ---- */

static bool room_for(struct dump *d, uint64_t bytes)
{
	if (bytes <= d->buf_size)
		return true;
	free(d->buf);
	d->buf_size = IOG_ROUND_UP(bytes, IOG_ALIGN);
	d->buf = aligned_alloc(IOG_ALIGN, d->buf_size);
	if (!d->buf)
		d->buf_size = 0;
	return d->buf;
}

static int print_record(struct dump *d, uint64_t number, uint64_t at, const struct iog_rf_frame *f, struct iog_err *err)
{
	struct iog_record r;
	char size[IOG_FIGURE];
	if (!room_for(d, f->length))
		return iog_fail(err, -ENOMEM, "out of memory for %llu bytes", (unsigned long long)f->length);
	if (iog_read_at(d->fd, d->buf, f->length, at + sizeof *f))
		return iog_fail(err, -EIO, "cannot be read: %s", strerror(errno));
	if (iog_hash(d->buf, f->length, 0) != f->data_sum)
		return iog_fail(err, -EBADMSG, "its bytes are not those that were written");
	int rc = iog_wire_open(
		&r, d->buf, f->length, &d->schema, NULL, 0, d->block, IOG_BLOCKS_MAX, d->head, IOG_HEAD_MAX, IOG_OPEN_SUM, err);
	if (rc)
		return rc;
	printf("\nrecord %llu: step %lld, time %.12g, epoch %u, writer %u, %s at byte %llu\n", (unsigned long long)number,
		(long long)r.step, r.time, f->epoch, f->writer, iog_show_bytes(size, (double)f->length), (unsigned long long)at);
	for (unsigned i = 0; i < d->schema.n_vars; i++)
		print_variable(d, &r, i);
	return 0;
}

static int print_file(struct dump *d, struct iog_err *err)
{
	char text[16384], figure[IOG_FIGURE], bytes[IOG_FIGURE];
	uint64_t at, n = 0;
	struct iog_rf_frame f;
	int bad = 0, rc = iog_rf_read_head(d->fd, d->size, d->path, &d->schema, &at, err);
	if (rc)
		return rc;
	iog_schema_text(&d->schema, true, text, sizeof text);
	iog_cli_head("schema");
	for (char *p = text, *line; (line = strsep(&p, "\n"));)
		if (*line)
			printf("    %s\n", line);
	for (; n < d->records && iog_rf_read_frame(d->fd, d->size, at, &f); n++) {
		struct iog_err e = { "" };
		if (print_record(d, n, at, &f, &e)) {
			fprintf(stderr, "iog dump: %s: record %llu at byte %llu: %s\n", d->path, (unsigned long long)n,
				(unsigned long long)at, e.text);
			bad++;
		}
		at = IOG_ROUND_UP(at + sizeof f + f.length, IOG_ALIGN);
	}
	printf("\n%s record%s in %s%s\n", iog_cli_count(figure, (double)n), n == 1 ? "" : "s",
		iog_show_bytes(bytes, (double)IOG_MIN(at, d->size)), n == d->records && at < d->size ? ", more follow" : "");
	if (n < d->records && at < d->size)
		printf("%s behind them are not a whole record: the file's writer was cut off there\n",
			iog_show_bytes(bytes, (double)(d->size - at)));
	return bad ? iog_fail(err, -EBADMSG, "%s: %d damaged record%s", d->path, bad, bad == 1 ? "" : "s") : 0;
}

static int dump_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_dump, .argc = argc, .argv = argv };
	struct dump *d = calloc(1, sizeof *d);
	struct iog_err err = { "" };
	struct stat st;
	if (!d)
		return IOG_EXIT_FAILED;
	d->records = UINT64_MAX, d->values = 6, d->fd = -1;
	for (int o; (o = iog_cli_next(&a)) != IOG_ARG_END;) {
		if (o == RECORDS)
			iog_cli_number(&a, "records", 0, &d->records);
		else if (o == VALUES)
			iog_cli_number(&a, "values", 0, &d->values);
		else if (d->path)
			a.code = iog_cli_usage(a.cmd, "wants one file, got \"%s\" too", a.value), a.done = true;
		else
			d->path = a.value;
	}
	if (!a.done && !d->path)
		a.code = iog_cli_usage(a.cmd, "wants a record file"), a.done = true;
	int code = a.code;
	if (!a.done) {
		d->head = aligned_alloc(IOG_ALIGN, IOG_HEAD_MAX);
		d->block = calloc(IOG_BLOCKS_MAX, sizeof *d->block);
		d->fd = open(d->path, O_RDONLY | O_CLOEXEC);
		int rc = 0;
		if (d->fd < 0 || fstat(d->fd, &st))
			rc = iog_fail(&err, -errno, "%s: cannot open: %s", d->path, strerror(errno));
		else if (!S_ISREG(st.st_mode))
			rc = iog_fail(&err, -EINVAL, "%s: is not a file", d->path);
		else if (!d->head || !d->block)
			rc = iog_fail(&err, -ENOMEM, "out of memory");
		else
			d->size = (uint64_t)st.st_size;
		if (!rc)
			rc = print_file(d, &err);
		bool written = iog_cli_flush();
		if (rc)
			fprintf(stderr, "iog dump: %s\n", err.text);
		code = rc || !written ? IOG_EXIT_FAILED : IOG_EXIT_OK;
	}
	if (d->fd >= 0)
		close(d->fd);
	free(d->head);
	free(d->block);
	free(d->buf);
	free(d);
	return code;
}

const struct iog_cli_cmd iog_cmd_dump = {
	.name = "dump",
	.args = "FILE.iogr",
	.summary = "shows a record file as text",
	.about = "Shows what a native record file (from iog.sink.record) holds: its schema, then each record with the first values of each "
		 "variable. A file that "
		 "was cut off by a crash is shown as far as it is whole.",
	.examples = "iog dump melt.iogr --records 2\niog dump melt.iogr --values 30\n",
	.opt = options,
	.run = dump_run,
};
