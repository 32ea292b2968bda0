/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sink "stream": a named point of a graph. Readers attach to it as to a program's stream, and other graphs of the agent take it by source "stream". Runs on
 * its I/O thread, in an agent, which brings it together with the readers (runtime/host/offer.h).
 */
#include <errno.h>

#include "runtime/host/endpoint.h"
#include "runtime/host/attach.h"
#include "runtime/host/offer.h"

enum { PARTS = 256 /* of a record, beside one for each variable */ };

struct conf {
	char name[IOG_STREAM_NAME];
	uint64_t memory;
	double timeout;
};

static const struct iog_param params[] = {
	IOG_PARAM(struct conf, name, IOG_P_STRING, .flags = IOG_PF_REQUIRED | IOG_PF_FIRST, .doc = "Name that readers subscribe to."),
	IOG_PARAM(struct conf, memory, IOG_P_SIZE, .def = "64MiB",
		.doc = "Memory for records that readers have not given back; 12 records at least."),
	IOG_PARAM(struct conf, timeout, IOG_P_SECONDS, .def = "5s", .min = 0, .max = 1e9,
		.doc = "How long a record waits for readers that want every one; then it is dropped and counted."),
	{ .name = NULL },
};

static int accept_name(const void *conf, const struct iog_schema *in, struct iog_err *err)
{
	const struct conf *c = conf;
	(void)in;
	return iog_name_valid(c->name, true)
		       ? 0
		       : iog_fail(err, -EINVAL, "\"%s\": the name of a stream has letters, digits and _, and fewer than %d bytes", c->name,
				 IOG_NAME);
}

static int begin(const void *conf, const struct iog_schema *in, void **self, struct iog_err *err)
{
	const struct conf *c = conf;
	const struct iog_offer_opts o = {
		.blocks = in->n_vars + PARTS, .bytes = c->memory, .waits = c->timeout > 0, .timeout_ns = (uint64_t)(c->timeout * 1e9)
	};
	struct iog_offer *offer;
	int rc = iog_offer_open(&offer, c->name, in, &o, err);
	*self = offer;
	return rc;
}

static enum iog_step put(void *self, const struct iog_record *r, struct iog_err *err)
{
	const enum iog_step step = iog_offer_write(self, r, err);
	if (step != IOG_NO_SPACE)
		return step;
	iog_offer_dropped(r, err);
	return IOG_FAILED;
}

static int finish(void *self, struct iog_err *err)
{
	(void)err;
	iog_offer_close(self);
	return 0;
}

extern const struct iog_sink iog_sink_stream;
const struct iog_sink iog_sink_stream = {
	.name = "stream",
	.summary = "A named point of a graph that readers and other graphs attach to",
	.params = params,
	.conf_size = sizeof(struct conf),
	.accept = accept_name,
	.open = begin,
	.write = put,
	.close = finish,
};
