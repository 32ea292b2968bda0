/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sink.h5md: the sink against a program that writes the same two arrays with H5Dwrite, in chunks of the same size, flushing as often, with
 * the same durable end. Files lie in $TMPDIR or /tmp and are removed. Wall time of opening, writing, flushing and closing.
 */
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench-op.h"
#include "runtime/host/endpoint.h"

enum { ATOMS = 32000, RECORDS = 40, FLUSH = 10 };

struct h5 {
	const struct iog_sink *sink;
	void *conf;
	struct iog_schema schema;
	struct iog_record rec;
	struct iog_block block[2];
	float *data[2];
	hsize_t chunk[3]; /* of the sink's datasets */
	char path[2][300];
	struct iog_err err;
};

static double ours(void *ctx)
{
	struct h5 *c = ctx;
	void *self;
	double t = bench_wall();
	unlink(c->path[0]);
	if (c->sink->open(c->conf, &c->schema, &self, &c->err))
		return -1;
	bool ok = true;
	for (int i = 0; ok && i < RECORDS; i++) {
		c->rec.step = i, c->rec.time = i;
		c->rec.id.seq = iog_seq_of_step(i);
		ok = c->sink->write(self, &c->rec, &c->err) == IOG_OK;
	}
	ok = ok && c->sink->flush(self, &c->err) == IOG_OK;
	ok = !c->sink->close(self, &c->err) && ok;
	return ok ? (bench_wall() - t) / RECORDS : -1;
}

/* A dataset that grows by a record. */
static hid_t dataset(hid_t file, const char *name, const hsize_t *chunk)
{
	const hsize_t none[3] = { 0, ATOMS, 3 }, most[3] = { H5S_UNLIMITED, ATOMS, 3 };
	hid_t space = H5Screate_simple(3, none, most), p = H5Pcreate(H5P_DATASET_CREATE);
	H5Pset_chunk(p, 3, chunk);
	hid_t d = H5Dcreate2(file, name, H5T_NATIVE_FLOAT, space, H5P_DEFAULT, p, H5P_DEFAULT);
	H5Pclose(p);
	H5Sclose(space);
	return d;
}
static bool append(hid_t d, hsize_t i, const float *data)
{
	const hsize_t all[3] = { i + 1, ATOMS, 3 }, at[3] = { i, 0, 0 }, n[3] = { 1, ATOMS, 3 };
	if (H5Dset_extent(d, all) < 0)
		return false;
	hid_t file = H5Dget_space(d), memory = H5Screate_simple(3, n, NULL);
	bool ok = H5Sselect_hyperslab(file, H5S_SELECT_SET, at, NULL, n, NULL) >= 0 &&
		  H5Dwrite(d, H5T_NATIVE_FLOAT, memory, file, H5P_DEFAULT, data) >= 0;
	H5Sclose(memory);
	H5Sclose(file);
	return ok;
}

static double plain(void *ctx)
{
	struct h5 *c = ctx;
	double t = bench_wall();
	unlink(c->path[1]);
	hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
	H5Pset_libver_bounds(fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
	hid_t file = H5Fcreate(c->path[1], H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
	H5Pclose(fapl);
	if (file < 0)
		return -1;
	hid_t d[2] = { dataset(file, "position", c->chunk), dataset(file, "velocity", c->chunk) };
	bool ok = d[0] >= 0 && d[1] >= 0;
	for (int i = 0; ok && i < RECORDS; i++) {
		ok = append(d[0], (hsize_t)i, c->data[0]) && append(d[1], (hsize_t)i, c->data[1]);
		if (ok && (i + 1) % FLUSH == 0)
			ok = H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0;
	}
	H5Dclose(d[0]);
	H5Dclose(d[1]);
	ok = H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0 && ok;
	int fd = open(c->path[1], O_RDONLY);
	ok = fd >= 0 && !fdatasync(fd) && ok;
	close(fd);
	ok = H5Fclose(file) >= 0 && ok;
	return ok ? (bench_wall() - t) / RECORDS : -1;
}

/* The chunks of what the sink wrote, and whether it is what was sent. */
static bool look(struct h5 *c)
{
	float *got = bench_alloc((uint64_t)RECORDS * ATOMS * 12);
	hid_t file = H5Fopen(c->path[0], H5F_ACC_RDONLY, H5P_DEFAULT),
	      d = H5Dopen2(file, "/particles/trajectory/position/value", H5P_DEFAULT);
	hid_t p = d >= 0 ? H5Dget_create_plist(d) : -1;
	bool ok = p >= 0 && H5Pget_chunk(p, 3, c->chunk) == 3 && H5Dread(d, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, got) >= 0;
	for (int i = 0; ok && i < RECORDS; i++)
		ok = !memcmp(got + (size_t)i * ATOMS * 3, c->data[0], ATOMS * 12);
	if (p >= 0)
		H5Pclose(p);
	if (d >= 0)
		H5Dclose(d);
	if (file >= 0)
		H5Fclose(file);
	return ok;
}

static bool prepare(struct h5 *c, struct bench_figure *f)
{
	const char *dir = getenv("TMPDIR");
	for (const struct iog_sink *const *s = iog_sinks; *s; s++)
		if (!strcmp((*s)->name, "h5md"))
			c->sink = *s;
	if (!c->sink || iog_schema_parse(&c->schema, "position: f32[atom=32000,xyz] Angstrom; velocity: f32[atom,xyz]", &c->err)) {
		bench_skip(f, "%s", c->sink ? c->err.text : "the h5md sink is not built in");
		return false;
	}
	for (int k = 0; k < 2; k++)
		snprintf(c->path[k], sizeof c->path[k], "%s/iog-bench-%d-%s.h5", dir && dir[0] ? dir : "/tmp", (int)getpid(),
			k ? "plain" : "sink");
	c->conf = bench_alloc(c->sink->conf_size);
	const struct iog_value path = { .kind = IOG_V_STRING, .s = c->path[0] }, flush = BENCH_NUMBER(FLUSH);
	if (iog_param_defaults(c->sink->params, c->conf, &c->err) || iog_param_set(c->sink->params, c->conf, "path", &path, &c->err) ||
		iog_param_set(c->sink->params, c->conf, "flush", &flush, &c->err)) {
		bench_skip(f, "%s", c->err.text);
		return false;
	}
	c->rec = (struct iog_record){ .schema = &c->schema, .writers = 1, .id = { .stream = 1, .epoch = 1 } };
	for (uint32_t d = 0; d < c->schema.n_dims; d++)
		c->rec.axis[d] = (struct iog_axis){ .extent = c->schema.dim[d].max, .spacing = 1 };
	for (int v = 0; v < 2; v++) {
		c->data[v] = bench_alloc(ATOMS * 12);
		for (uint64_t i = 0; i < ATOMS * 3; i++)
			c->data[v][i] = bench_unit(2 * i + (uint64_t)v);
		c->block[v] = (struct iog_block){ .data = (uint8_t *)c->data[v], .count = { ATOMS, 3 } };
		iog_block_set_dense(&c->block[v], 2, 4);
		c->rec.var[v] = (struct iog_var){ .block = &c->block[v], .n_blocks = 1 };
	}
	return true;
}

void bench_sink_h5md(struct bench_figure *f)
{
	struct h5 *c = bench_alloc(sizeof *c);
	if (!prepare(c, f))
		return;
	if (ours(c) < 0 || !look(c)) {
		bench_skip(f, "the sink's file does not hold what was sent: %s", c->err.text);
	} else {
		bench_pairs(f, ours, plain, c);
		f->value = 2.0 * ATOMS * 12 / f->ours * 1e-6;
		snprintf(f->unit, sizeof f->unit, "MB/s");
		bench_note(f,
			"files of %d records, opening and a durable flush included, so this moves with the disk; chunks of %llu x %llu x "
			"%llu",
			RECORDS, (unsigned long long)c->chunk[0], (unsigned long long)c->chunk[1], (unsigned long long)c->chunk[2]);
	}
	unlink(c->path[0]);
	unlink(c->path[1]);
}
