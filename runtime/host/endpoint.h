/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The endpoint contract: where a graph touches the world. A source makes records, a sink consumes them. Each runs on an I/O thread of its
 * own, may block, allocate and use any library, and has one file in endpoints/ and one line in endpoints/all.c.
 *
 * Every wait inside an endpoint ends: calls that may block take a limit and return IOG_HOLD when it passed, so that the thread can look
 * at its stop flag. `self` is only ever used by one thread at a time.
 *
 * Messages do not begin with the endpoint's name: whoever reports them says which node of the graph they are about.
 */
#ifndef IOG_RUNTIME_HOST_ENDPOINT_H
#define IOG_RUNTIME_HOST_ENDPOINT_H

#include "core/iog_op.h"

IOG_C_BEGIN

struct iog_source {
	const char *name, *summary;
	const struct iog_param *params;
	uint32_t conf_size;
	/*
	 * What the records will hold, without contacting anyone who need not be there: from conf and the files it names. Dimensions whose
	 * maximum cannot be known keep max 0, and the checker says what to declare. 0 or -errno with a message.
	 */
	int (*describe)(const void *conf, struct iog_schema *schema, struct iog_err *err);
	/* Connects or opens; the schema is the one describe gave, now sealed and bounded. Waits at most its own `timeout` parameter. */
	int (*open)(const void *conf, const struct iog_schema *schema, void **self, struct iog_err *err);
	/*
	 * The next record: sets out->rec (step, time, axes, every variable, statics included every time: the runtime stores them once per
	 * epoch) with payload in out->space or in memory that stays until the next call. Identity is the runtime's business, except that
	 * out->rec.id.epoch is raised by the source when what it is connected to restarted. Returns IOG_OK; IOG_HOLD: nothing within
	 * limit_ns; IOG_ELIDE: a bad frame was skipped (counted); IOG_FATAL: the end (err empty) or a failure (err set).
	 */
	enum iog_step (*next)(void *self, struct iog_out *out, uint64_t limit_ns, struct iog_err *err);
	void (*close)(void *self);
	/* Optional: called from another thread to make a blocked next() return soon. */
	void (*wake)(void *self);
	/*
	 * Optional, on a path that is safe: called once after open, and then release says how many of the records that were given out, oldest first, are stored
	 * for good. Until then what they were made from is kept where it comes from, and comes again if this process dies; `credit` is how many records
	 * that can be, from conf, after open too. The identity of such a record is what next() sets (epoch, seq), whoever runs the graph. False: it cannot.
	 */
	bool (*keep)(void *self);
	void (*release)(void *self, uint32_t n);
	uint32_t (*credit)(const void *conf);
};

enum {
	IOG_SINK_SAFE = 1, /* has recover(): may be used with release = "safe" */
};

struct iog_sink {
	const char *name, *summary;
	const struct iog_param *params;
	uint32_t conf_size, flags;
	/* Refuses a schema it cannot store, naming the variable. Called by `check`. */
	int (*accept)(const void *conf, const struct iog_schema *in, struct iog_err *err);
	/* Optional: refuses parameters that do not go with release = "safe". Called by `check`, where that is asked for. */
	int (*accept_safe)(const void *conf, struct iog_err *err);
	int (*open)(const void *conf, const struct iog_schema *in, void **self, struct iog_err *err);
	/* Stores one record; it is borrowed. IOG_OK, or IOG_FAILED / IOG_FATAL with a message (full disk: what is there stays readable). */
	enum iog_step (*write)(void *self, const struct iog_record *r, struct iog_err *err);
	/* Makes everything written so far durable. The runtime calls it before it acknowledges on a safe edge, and at the end. */
	enum iog_step (*flush)(void *self, struct iog_err *err);
	/* IOG_SINK_SAFE: the last durable record (epoch, seq); *any false: none. Called after open. */
	int (*recover)(void *self, struct iog_id *last, bool *any, struct iog_err *err);
	/* How many records may pass between flushes on a safe edge: from conf; 0: the runtime's default. */
	uint32_t (*flush_every)(const void *conf);
	int (*close)(void *self, struct iog_err *err);
};

/* NULL-terminated, in endpoints/all.c. */
extern const struct iog_source *const iog_sources[];
extern const struct iog_sink *const iog_sinks[];

IOG_C_END

#endif
